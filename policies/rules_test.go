package policies

import "testing"

func TestBuiltin(t *testing.T) {
	r, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r.Catalog.IDs())
	if _, err := r.Engine(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}
