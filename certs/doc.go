// Package certs gives the webhook server its certificates: its own, which it
// makes and rotates, or those in a directory, as cert-manager's Secret is
// mounted ([Files]).
//
// Of its own there are an authority and a serving certificate, in one Secret
// that all replicas watch. [Material] is what that Secret holds, and
// [Lifetimes.Next] what it should hold at some time; both are pure. A [Keeper]
// does it, in one replica at a time, and a [Secret] hands the certificate to the
// TLS server of each. Four rules make that no request fails over it:
//
//   - A new authority signs nothing until the API server has trusted it for a
//     while. Until then the old one's certificate is served.
//   - An authority is trusted until it has expired, and no certificate outlives
//     the authority that signed it. So whatever a replica still serves, however
//     late it hears of another, is trusted as long as it counts at all. Nobody
//     has to find out what the replicas serve.
//   - An authority's key is gone once another one signs.
//   - What somebody deletes or spoils is made good from what the keeper knew. A
//     Secret that was deleted comes back with a new authority beside the old one:
//     that is how to ask for a rotation.
//
// github.com/open-policy-agent/cert-controller, the library for this, does none
// of them: its rotator (v0.16) replaces the authority and the certificate in one
// write and then exchanges the caBundle, so that requests fail in between; with
// RestartOnSecretRefresh it exits the process, and without it the files of the
// mounted Secret follow a minute later; and it reads the clock by itself. So this
// builds on the standard library.
package certs
