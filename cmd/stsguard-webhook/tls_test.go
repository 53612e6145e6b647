package main

import (
	"crypto/tls"
	"path/filepath"
	"testing"
)

// TestUnreadableAuthorities: while there has been no file to read, nobody is known.
// Without any authorities, those of the system would count.
func TestUnreadableAuthorities(t *testing.T) {
	c := &callers{path: filepath.Join(t.TempDir(), "ca.crt")}
	config := &tls.Config{}
	c.secure(config)
	with, err := config.GetConfigForClient(nil)
	if err != nil {
		t.Fatal(err)
	}
	if with.ClientCAs == nil {
		t.Error("whom the system trusts may ask")
	}
}
