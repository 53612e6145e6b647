// Command cert-manager is cert-manager for tests: its controller for Certificates
// of Issuers that sign themselves or have an authority in a Secret, and its
// cainjector, in one process. The programs that cert-manager itself ships are in
// modules of their own, which no Go module proxy has; what they run is here.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/cainjector"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
	"github.com/cert-manager/cert-manager/pkg/util"
)

func main() {
	// A set of its own: libraries have put flags into the usual one.
	flags := flag.NewFlagSet("cert-manager", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "`file` that says how to reach the API server")
	health := flags.String("health-address", "", "`address` to serve /readyz on")
	_ = flags.Parse(os.Args[1:]) // it exits by itself
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, *health); err != nil {
		fmt.Fprintln(os.Stderr, "cert-manager:", err)
		os.Exit(1)
	}
}

// run runs all of it until the context is done, or something has failed.
func run(ctx context.Context, kubeconfig, health string) error {
	ctrl.SetLogger(klog.Background())
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	controllers, start, err := controllers(ctx, kubeconfig)
	if err != nil {
		return err
	}
	injector, err := injector(ctx, kubeconfig, health)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	for name, c := range controllers {
		running.Go(func() {
			if err := c.Run(1, ctx); err != nil {
				cancel(fmt.Errorf("run controller %s: %w", name, err))
			}
		})
	}
	running.Go(func() {
		if err := injector.Start(ctx); err != nil {
			cancel(fmt.Errorf("run cainjector: %w", err))
		}
	})
	start()
	running.Wait()
	if err := context.Cause(ctx); err != context.Canceled {
		return err
	}
	return nil
}

// controllers are those that the imports have made known, by name, and what starts
// their caches.
func controllers(ctx context.Context, kubeconfig string) (all map[string]controller.Interface, start func(), err error) {
	factory, err := controller.NewContextFactory(ctx, controller.ContextOptions{
		Kubeconfig: kubeconfig,
		CertificateOptions: controller.CertificateOptions{
			CertificateRequestMinimumBackoffDuration: time.Second,
			CertificateRequestMaximumBackoffDuration: 10 * time.Second,
		},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("prepare the controllers: %w", err)
	}
	all = map[string]controller.Interface{}
	for name, construct := range controller.Known() {
		if all[name], err = construct(factory); err != nil {
			return nil, nil, fmt.Errorf("prepare controller %s: %w", name, err)
		}
	}
	shared, err := factory.Build()
	if err != nil {
		return nil, nil, fmt.Errorf("prepare the controllers: %w", err)
	}
	return all, func() {
		shared.SharedInformerFactory.Start(ctx.Done())
		shared.KubeSharedInformerFactory.Start(ctx.Done())
	}, nil
}

// injector is what writes authorities into webhook configurations. It serves the
// health of all.
func injector(ctx context.Context, kubeconfig, health string) (manager.Manager, error) {
	connection, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("prepare cainjector: %w", err)
	}
	// The name by which the API server knows whose fields are whose.
	connection = util.RestConfigWithUserAgent(connection, "cainjector")
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{cmapi.AddToScheme, corev1.AddToScheme, admissionv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("prepare cainjector: %w", err)
		}
	}
	m, err := ctrl.NewManager(connection, ctrl.Options{Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: health})
	if err != nil {
		return nil, fmt.Errorf("prepare cainjector: %w", err)
	}
	if err := m.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("prepare cainjector: %w", err)
	}
	if err := cainjector.RegisterAllInjectors(ctx, m, cainjector.SetupOptions{
		EnableCertificatesDataSource: true,
		EnabledReconcilersFor: map[string]bool{
			cainjector.MutatingWebhookConfigurationName:   true,
			cainjector.ValidatingWebhookConfigurationName: true,
		},
	}); err != nil {
		return nil, fmt.Errorf("prepare cainjector: %w", err)
	}
	return m, nil
}
