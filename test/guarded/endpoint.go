package guarded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// The chart's Service, where the documentation installs it.
const (
	namespace = "stsguard-system"
	service   = "stsguard-webhook"
)

// EndpointHost is an address of this machine that may be an endpoint's. That of
// loopback may not.
func EndpointHost() (string, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("find an address for an endpoint: %w", err)
	}
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && ip.IP.IsGlobalUnicast() {
			return ip.IP.String(), nil
		}
	}
	return "", errors.New("this machine has no address but that of loopback, which can't be an endpoint of a Service")
}

// Address is where the API server asks, as host:port.
func (s *Server) Address() string { return strings.TrimPrefix(s.Base, "https://") }

// Publish makes a server an endpoint of the chart's Service. It has to have an
// EndpointHost.
func (s *Server) Publish(ctx context.Context, client kubernetes.Interface) error {
	host, digits, err := net.SplitHostPort(s.Address())
	if err != nil {
		return fmt.Errorf("publish a server: %w", err)
	}
	port, err := strconv.ParseInt(digits, 10, 32)
	if err != nil {
		return fmt.Errorf("publish a server: %w", err)
	}
	if _, err := client.DiscoveryV1().EndpointSlices(namespace).Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: s.endpoint(), Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
		Ports:       []discoveryv1.EndpointPort{{Name: new("webhook"), Port: new(int32(port))}},
	}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("publish a server: %w", err)
	}
	return nil
}

// Withdraw takes back what Publish did.
func (s *Server) Withdraw(ctx context.Context, client kubernetes.Interface) error {
	if err := client.DiscoveryV1().EndpointSlices(namespace).Delete(ctx, s.endpoint(), metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("withdraw a server: %w", err)
	}
	return nil
}

// endpoint is the name of its EndpointSlice.
func (s *Server) endpoint() string { return filepath.Base(s.Dir) }
