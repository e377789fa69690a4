package migrate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fields is what is left to read of an object. What is read is taken out; what
// remains at the end is named by rest. So nothing is dropped silently.
type fields struct {
	left   map[string]any
	path   string
	object string
	note   func(Note)
}

// path of a field, for notes.
func (f fields) at(name string) string {
	if f.path == "" {
		return name
	}
	return f.path + "." + name
}

// take returns a field, and takes it out; nil: it is not there.
func (f fields) take(name string) any {
	v := f.left[name]
	delete(f.left, name)
	return v
}

// odd says of a field that it is not of the form that it should have.
func (f fields) odd(name string, v any) {
	f.note(Note{Gravity: NoEqual, Object: f.object, Field: f.at(name), Value: brief(name, v), Why: "can't be read; it is left out"})
}

func (f fields) text(name string) string {
	switch v := f.take(name).(type) {
	case nil:
	case string:
		return strings.TrimSpace(v)
	case int64, float64, bool:
		return fmt.Sprint(v)
	default:
		f.odd(name, v)
	}
	return ""
}

// number returns a whole number, and whether it is there.
func (f fields) number(name string) (int64, bool) {
	v := f.take(name)
	n, ok := whole(v)
	if !ok && v != nil {
		f.odd(name, v)
	}
	return n, ok
}

// small returns a number of 32 bits; 0: it is not there.
func (f fields) small(name string) int32 {
	v := f.take(name)
	n, ok := whole(v)
	if int64(int32(n)) != n || !ok && v != nil {
		f.odd(name, v)
		return 0
	}
	return int32(n)
}

// password returns a text as it stands, with the spaces at its ends.
func (f fields) password(name string) string {
	if text, ok := f.left[name].(string); ok {
		f.take(name)
		return text
	}
	return f.text(name)
}

// whole reads a whole number as JSON, YAML and people write it.
func whole(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case int:
		return int64(v), true
	case float64:
		return int64(v), v == float64(int64(v))
	case string:
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		return n, err == nil
	}
	return 0, false
}

func (f fields) flag(name string) bool {
	switch v := f.take(name).(type) {
	case nil:
	case bool:
		return v
	case string:
		return v == "true"
	default:
		f.odd(name, v)
	}
	return false
}

// has reports whether a field is still there.
func (f fields) has(name string) bool { return f.left[name] != nil }

func (f fields) texts(name string) []string {
	var out []string
	f.into(name, &out)
	return out
}

// selectors reads a list of label selectors; selector one, as such a list.
func (f fields) selectors(name string) []metav1.LabelSelector {
	var out []metav1.LabelSelector
	f.into(name, &out)
	return out
}

func (f fields) selector(name string) []metav1.LabelSelector {
	if !f.has(name) {
		return nil
	}
	var out metav1.LabelSelector
	f.into(name, &out)
	if len(out.MatchLabels) == 0 && len(out.MatchExpressions) == 0 {
		return nil // it selects all
	}
	return []metav1.LabelSelector{out}
}

// into decodes a field, all of it or nothing.
func (f fields) into(name string, out any) {
	v := f.take(name)
	if v == nil {
		return
	}
	text, err := json.Marshal(v)
	if err == nil {
		dec := json.NewDecoder(strings.NewReader(string(text)))
		dec.DisallowUnknownFields()
		err = dec.Decode(out)
	}
	if err != nil {
		f.odd(name, v)
	}
}

// sub returns the fields of a field; none if it is not there.
func (f fields) sub(name string) fields {
	m, ok := f.left[name].(map[string]any)
	if !ok {
		if v := f.take(name); v != nil {
			f.odd(name, v)
		}
		m = map[string]any{}
	}
	return fields{m, f.at(name), f.object, f.note}
}

// items returns the fields of each element of a list.
func (f fields) items(name string) []fields {
	list, ok := f.left[name].([]any)
	if !ok {
		if v := f.take(name); v != nil {
			f.odd(name, v)
		}
		return nil
	}
	var out []fields
	for i, x := range list {
		if m, ok := x.(map[string]any); ok {
			out = append(out, fields{m, fmt.Sprintf("%s[%d]", f.at(name), i), f.object, f.note})
		} else {
			f.odd(fmt.Sprintf("%s[%d]", name, i), x)
			list[i] = nil
		}
	}
	return out
}

// say takes a field out, if it is there and not at its zero value, and says why
// it is not carried over.
func (f fields) say(g Gravity, name, format string, args ...any) {
	v := f.take(name)
	if empty(v) {
		return
	}
	f.tell(g, name, v, format, args...)
}

// tell says something of a field that was taken.
func (f fields) tell(g Gravity, name string, v any, format string, args ...any) {
	f.note(Note{Gravity: g, Object: f.object, Field: f.at(name), Value: brief(name, v), Why: fmt.Sprintf(format, args...)})
}

// empty reports whether a value says nothing.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return !slices.ContainsFunc(v, func(x any) bool { return !empty(x) })
	case map[string]any:
		for _, x := range v {
			if !empty(x) {
				return false
			}
		}
		return true
	}
	return false
}

// rest names everything that nobody has read.
func (f fields) rest() {
	for _, name := range slices.Sorted(maps.Keys(f.left)) {
		f.leaves(f.at(name), name, f.left[name])
	}
	clear(f.left)
}

func (f fields) leaves(path, name string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, n := range slices.Sorted(maps.Keys(v)) {
			of := n
			if isSecret(name) {
				of = name
			}
			f.leaves(path+"."+n, of, v[n])
		}
	case []any:
		for i, x := range v {
			f.leaves(fmt.Sprintf("%s[%d]", path, i), name, x)
		}
	case nil:
	default:
		f.note(Note{Gravity: NoEqual, Object: f.object, Field: path, Value: brief(name, v), Why: "this field is not known here; it is left out"})
	}
}

// brief prints a value in a few words, and a secret not at all.
func brief(name string, v any) string {
	if isSecret(name) {
		return ""
	}
	text, err := json.Marshal(withoutSecrets(v))
	if err != nil {
		return ""
	}
	if r := []rune(string(text)); len(r) > 80 {
		return string(r[:77]) + "..."
	}
	return string(text)
}

// isSecret reports whether a field of this name may hold a password.
func isSecret(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"pass", "secret", "token", "credential", "bgp_peers"}, func(part string) bool { return strings.Contains(name, part) })
}

// withoutSecrets returns v without the values of fields that may hold a password,
// at any depth; so it does with {name: …, value: …}.
func withoutSecrets(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		named, _ := v["name"].(string)
		for k, x := range v {
			if isSecret(k) || k == "value" && isSecret(named) {
				x = "..."
			}
			out[k] = withoutSecrets(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = withoutSecrets(v[i])
		}
		return out
	}
	return v
}
