package kubelet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mountAccount is run in the Pod's mount namespace, with the account's folder as
// first argument. What else is in /run is the machine's, and not for Pods; -n since
// mount would keep its notes there.
const mountAccount = `mount -nt tmpfs -o mode=755 account /mnt &&
mkdir -p /mnt/secrets/kubernetes.io/serviceaccount &&
cp "$1"/* /mnt/secrets/kubernetes.io/serviceaccount &&
mount -n --move /mnt /run && `

// hasAccount tells whether the Pod is given a token: it names a ServiceAccount and
// does not refuse it. The default one may do nothing, so its token is left out.
func (p *pod) hasAccount() bool {
	s := p.obj.Spec
	refused := s.AutomountServiceAccountToken != nil && !*s.AutomountServiceAccountToken
	return s.ServiceAccountName != "" && s.ServiceAccountName != "default" && !refused
}

func (p *pod) accountFolder() string { return filepath.Join(p.Table.Folder, "accounts", p.host()) }

// writeAccount writes what a container finds in its folder serviceaccount: a token
// for a year, the authority of the API server, and the name of the namespace.
func (p *pod) writeAccount(ctx context.Context) (folder string, err error) {
	year := int64(365 * 24 * 3600)
	// It is bound to the Pod, and so names the Pod's node.
	bound := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.obj.Name, UID: p.obj.UID}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &year, BoundObjectRef: bound}}
	name := p.obj.Spec.ServiceAccountName
	token, err := p.API.CoreV1().ServiceAccounts(p.obj.Namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("ask for the token of %s/%s: %w", p.obj.Namespace, name, err)
	}
	ca, err := os.ReadFile(p.CA)
	if err != nil {
		return "", fmt.Errorf("read the authority's certificate: %w", err)
	}
	folder = p.accountFolder()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", fmt.Errorf("make the folder of a Pod's account: %w", err)
	}
	files := map[string][]byte{"token": []byte(token.Status.Token), "ca.crt": ca, "namespace": []byte(p.obj.Namespace)}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(folder, file), text, 0o600); err != nil {
			return "", fmt.Errorf("write a Pod's account: %w", err)
		}
	}
	return folder, nil
}
