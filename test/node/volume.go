//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mount is a directory of the machine at a path in a container.
type mount struct{ source, path string }

// mounts writes the pod's volumes and says where they are.
func (p *pod) mounts(ctx context.Context, c *corev1.Container) ([]mount, error) {
	if err := p.writeVolumes(ctx); err != nil {
		return nil, err
	}
	var mounts []mount
	for _, m := range c.VolumeMounts {
		if m.SubPath != "" {
			return nil, fmt.Errorf("volume %s: this node knows no subPath", m.Name)
		}
		mounts = append(mounts, mount{p.volumeDir(m.Name), m.MountPath})
	}
	return mounts, nil
}

func (p *pod) volumeDir(name string) string { return filepath.Join(p.dir, "volumes", name) }

// writeVolumes writes those that changed.
func (p *pod) writeVolumes(ctx context.Context) error {
	for _, v := range p.latest().Spec.Volumes {
		files, err := p.files(ctx, &v)
		if err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
		if fmt.Sprint(files) == fmt.Sprint(p.written[v.Name]) && p.written[v.Name] != nil {
			continue
		}
		if err := replace(p.volumeDir(v.Name), files); err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
		p.written[v.Name] = files
	}
	return nil
}

type files map[string][]byte

func (p *pod) files(ctx context.Context, v *corev1.Volume) (files, error) {
	out := files{}
	switch {
	case v.ConfigMap != nil:
		return out, p.addConfigMap(ctx, out, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional)
	case v.Secret != nil:
		return out, p.addSecret(ctx, out, v.Secret.SecretName, v.Secret.Items, v.Secret.Optional)
	case v.EmptyDir != nil:
		return out, nil
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if err := p.addProjection(ctx, out, &s); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, errors.New("this node has no volumes of its kind")
}

func (p *pod) addProjection(ctx context.Context, out files, s *corev1.VolumeProjection) error {
	switch {
	case s.ConfigMap != nil:
		return p.addConfigMap(ctx, out, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional)
	case s.Secret != nil:
		return p.addSecret(ctx, out, s.Secret.Name, s.Secret.Items, s.Secret.Optional)
	case s.DownwardAPI != nil:
		for _, item := range s.DownwardAPI.Items {
			value, err := p.field(item.FieldRef)
			if err != nil {
				return err
			}
			out[item.Path] = []byte(value)
		}
		return nil
	case s.ServiceAccountToken != nil:
		token, err := p.serviceAccountToken(ctx, s.ServiceAccountToken)
		out[s.ServiceAccountToken.Path] = []byte(token)
		return err
	}
	return errors.New("this node doesn't know all of its sources")
}

func (p *pod) addConfigMap(ctx context.Context, out files, name string, items []corev1.KeyToPath, optional *bool) error {
	c, err := p.node.client.CoreV1().ConfigMaps(p.namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read ConfigMap %s: %w", name, err)
	}
	for key, value := range c.Data {
		out.add(key, []byte(value), items)
	}
	return nil
}

func (p *pod) addSecret(ctx context.Context, out files, name string, items []corev1.KeyToPath, optional *bool) error {
	s, err := p.node.client.CoreV1().Secrets(p.namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read Secret %s: %w", name, err)
	}
	for key, value := range s.Data {
		out.add(key, value, items)
	}
	return nil
}

// add adds the key's value, under the path that the items give it if there are any.
func (f files) add(key string, value []byte, items []corev1.KeyToPath) {
	if len(items) == 0 {
		f[key] = value
	}
	for _, item := range items {
		if item.Key == key {
			f[item.Path] = value
		}
	}
}

// serviceAccountToken is a token for the pod, until most of its time is over.
func (p *pod) serviceAccountToken(ctx context.Context, s *corev1.ServiceAccountTokenProjection) (string, error) {
	if time.Now().Before(p.tokenUntil) {
		return p.token, nil
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: s.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.name, UID: p.uid},
	}}
	if s.Audience != "" {
		request.Spec.Audiences = []string{s.Audience}
	}
	got, err := p.node.client.CoreV1().ServiceAccounts(p.namespace).CreateToken(ctx, p.latest().Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("create a token: %w", err)
	}
	p.token = got.Status.Token
	p.tokenUntil = time.Now().Add(time.Until(got.Status.ExpirationTimestamp.Time) * 8 / 10)
	return p.token, nil
}

// replace changes all files of a directory at once, as a kubelet does: they are
// links through one link, which is what changes.
func replace(dir string, content files) error {
	version := filepath.Join(dir, ".."+strconv.FormatInt(time.Now().UnixNano(), 10))
	if err := os.MkdirAll(version, 0o755); err != nil {
		return err
	}
	for name, data := range content {
		if err := os.WriteFile(filepath.Join(version, name), data, 0o644); err != nil {
			return err
		}
	}
	data, next := filepath.Join(dir, "..data"), filepath.Join(dir, "..data_tmp")
	before, _ := os.Readlink(data)
	if err := os.Symlink(filepath.Base(version), next); err != nil {
		return err
	}
	if err := os.Rename(next, data); err != nil {
		return err
	}
	for name := range content {
		link := filepath.Join(dir, name)
		if _, err := os.Lstat(link); os.IsNotExist(err) {
			if err := os.Symlink(filepath.Join("..data", name), link); err != nil {
				return err
			}
		}
	}
	if before == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, before))
}
