package intent

import (
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// hostile are texts that must not reach any object as they are.
func hostile() []string {
	return []string{"x\x1b[2J\r\n\u0085\u2028", strings.Repeat("\x01", 255000), strings.Repeat("a", 255000), "a:" + strings.Repeat("\u202e", 1000), strings.Repeat("[", 5000), "10.0.0.1" + strings.Repeat(",10.0.0.1", 20000)}
}

func wantShown(t *testing.T, where, text string) {
	t.Helper()
	if !printable.Is(text) || len(text) > printable.MaxMessage {
		t.Errorf("%s: %d bytes: %.300q", where, len(text), text)
	}
}

// TestNoRequestOfAServiceSpeaksForItself has each annotation hold what is hostile.
func TestNoRequestOfAServiceSpeaksForItself(t *testing.T) {
	prefixes, err := ParseAnnotationPrefixes("metallb.io")
	if err != nil {
		t.Fatal(err)
	}
	pools := []ipam.Pool{{Name: "lan"}}
	for _, prefix := range []string{v1beta1.Group, "metallb.io", "metallb.universe.tf"} {
		for _, name := range []string{"loadBalancerIPs", "address-pool", "allow-shared-ip"} {
			for _, text := range hostile() {
				svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "n", Annotations: map[string]string{prefix + "/" + name: text}}}
				for _, field := range []string{"", "10.0.0.2", text} {
					svc.Spec.LoadBalancerIP = field
					r := prefixes.Request(svc)
					wantShown(t, prefix+"/"+name, r.Invalid)
					wantShown(t, prefix+"/"+name, ipam.Assign(pools, []*ipam.Request{&r}, nil)[0].Message)
				}
			}
		}
	}
}

// TestAnOversizedRequestIsNotRead names the length, and nothing of the text.
func TestAnOversizedRequestIsNotRead(t *testing.T) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1beta1.AnnotationLoadBalancerIPs: strings.Repeat("\x01", 255000)}}}
	const want = "annotation steelyard.dev/loadBalancerIPs is 255000 bytes long; at most 1024 are read"
	if have := (AnnotationPrefixes{}).Request(svc).Invalid; have != want {
		t.Errorf("have %q", have)
	}
}

// TestNoFieldSpeaksForItself has each text of each field of our kinds, in turn,
// hold what is hostile.
func TestNoFieldSpeaksForItself(t *testing.T) {
	meta := metav1.ObjectMeta{Name: "x"}
	for name, put := range map[string]func(o *Objects, set func(reflect.Value)){
		"IPAddressPool":    one(v1beta1.IPAddressPool{ObjectMeta: meta}, func(o *Objects) *[]v1beta1.IPAddressPool { return &o.Pools }),
		"L2Advertisement":  one(v1beta1.L2Advertisement{ObjectMeta: meta}, func(o *Objects) *[]v1beta1.L2Advertisement { return &o.L2 }),
		"BGPAdvertisement": one(v1beta1.BGPAdvertisement{ObjectMeta: meta}, func(o *Objects) *[]v1beta1.BGPAdvertisement { return &o.BGP }),
		"BGPPeer": one(v1beta1.BGPPeer{ObjectMeta: meta, Spec: v1beta1.BGPPeerSpec{PeerAddress: "10.0.0.1"}},
			func(o *Objects) *[]v1beta1.BGPPeer { return &o.Peers }),
		"BFDProfile": one(v1beta1.BFDProfile{ObjectMeta: meta}, func(o *Objects) *[]v1beta1.BFDProfile { return &o.Profiles }),
		"Community":  one(v1beta1.Community{ObjectMeta: meta}, func(o *Objects) *[]v1beta1.Community { return &o.Communities }),
	} {
		reported := 0
		for _, text := range hostile() {
			for nth := 0; ; nth++ {
				var o Objects
				left := nth
				put(&o, func(v reflect.Value) { setText(v, text, &left) })
				if left >= 0 {
					break // there are no more fields
				}
				for ref, v := range Parse(o).Validations {
					for _, f := range v.Faults() {
						wantShown(t, ref.Kind, f.Message)
						reported++
					}
				}
			}
		}
		if reported == 0 && name != "BFDProfile" { // which has no text
			t.Errorf("no %s was refused", name)
		}
	}
}

// one adds x to the objects of its kind once its specification is set.
func one[T any](x T, all func(*Objects) *[]T) func(*Objects, func(reflect.Value)) {
	return func(o *Objects, set func(reflect.Value)) {
		x := x
		set(reflect.ValueOf(&x).Elem().FieldByName("Spec").Addr())
		*all(o) = append(*all(o), x)
	}
}

// setText sets the nth text below v, counted down to -1 by then.
func setText(v reflect.Value, text string, nth *int) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			if before := *nth; !hasText(v.Type()) || before < 0 {
				return
			}
			v.Set(reflect.New(v.Type().Elem()))
		}
		setText(v.Elem(), text, nth)
	case reflect.Struct:
		for i := range v.NumField() {
			setText(v.Field(i), text, nth)
		}
	case reflect.Slice:
		if hasText(v.Type().Elem()) {
			one := reflect.MakeSlice(v.Type(), 1, 1)
			if before := *nth; before >= 0 {
				if setText(one.Index(0), text, nth); *nth < 0 {
					v.Set(one)
				}
			}
		}
	case reflect.String:
		if *nth--; *nth == -1 {
			v.SetString(text)
		}
	}
}

// hasText reports whether a value of that type can hold text.
func hasText(of reflect.Type) bool {
	switch of.Kind() {
	case reflect.String:
		return true
	case reflect.Pointer, reflect.Slice:
		return hasText(of.Elem())
	case reflect.Struct:
		for i := range of.NumField() {
			if hasText(of.Field(i).Type) {
				return true
			}
		}
	}
	return false
}
