package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// reviewTimeout is how long somebody who scrapes waits for the API server's word.
const reviewTimeout = 10 * time.Second

// metricsOptions are how metrics are served: with the certificate of the webhooks,
// and to those whom the API server lets get them.
func metricsOptions(o options, getCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) metricsserver.Options {
	if o.metricsPlain {
		return metricsserver.Options{BindAddress: o.metricsAddress}
	}
	return metricsserver.Options{
		BindAddress:    o.metricsAddress,
		SecureServing:  true,
		FilterProvider: authorize,
		TLSOpts:        []func(*tls.Config){secure, func(c *tls.Config) { c.GetCertificate = getCertificate }},
	}
}

// authorize passes on requests of those whom the API server knows by their token
// and lets get this path. The filter of controller-runtime would do it, too, and
// remember answers; it links CEL, gRPC and OpenTelemetry, which makes this program
// two thirds larger. Two questions for each scrape need no memory.
func authorize(config *rest.Config, httpClient *http.Client) (metricsserver.Filter, error) {
	client, err := kubernetes.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("authorize who reads metrics: %w", err)
	}
	return func(log logr.Logger, next http.Handler) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), reviewTimeout)
			defer cancel()
			status, reason, err := mayGet(ctx, client, r)
			switch {
			case err != nil:
				log.Error(err, "could not ask whether somebody may read metrics")
				http.Error(w, "stsguard could not ask the API server who you are", http.StatusServiceUnavailable)
			case status != http.StatusOK:
				http.Error(w, reason, status)
			default:
				next.ServeHTTP(w, r)
			}
		}), nil
	}, nil
}

// mayGet says with an HTTP status whether the one who asks may, and if not why.
func mayGet(ctx context.Context, client kubernetes.Interface, r *http.Request) (status int, reason string, err error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return http.StatusUnauthorized, "stsguard wants a bearer token, such as a service account's", nil
	}
	known, err := client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token},
	}, metav1.CreateOptions{})
	if err != nil {
		return 0, "", fmt.Errorf("review a token: %w", err)
	}
	if !known.Status.Authenticated {
		return http.StatusUnauthorized, "the API server does not know this token", nil
	}
	user := known.Status.User
	extra := map[string]authorizationv1.ExtraValue{}
	for key, value := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(value)
	}
	verb := strings.ToLower(r.Method)
	access, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: r.URL.Path, Verb: verb},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return 0, "", fmt.Errorf("review access: %w", err)
	}
	if !access.Status.Allowed {
		return http.StatusForbidden, fmt.Sprintf("%q may not %s the non-resource URL %s: a ClusterRole has to allow it", user.Username, verb, r.URL.Path), nil
	}
	return http.StatusOK, "", nil
}
