// Package conformance holds no code: it names what the conformance suite of the network-policy-api is made of, so that go.mod
// and go.sum cover it. The suite is the test of a package of another module, and those are not looked at by themselves.
package conformance

import (
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	_ "sigs.k8s.io/controller-runtime/pkg/client/config"
	_ "sigs.k8s.io/network-policy-api/conformance"
	_ "sigs.k8s.io/network-policy-api/conformance/tests"
	_ "sigs.k8s.io/network-policy-api/conformance/utils/flags"
	_ "sigs.k8s.io/yaml"
)
