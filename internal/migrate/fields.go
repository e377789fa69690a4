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

// fields is what is not read yet of an object. Each method removes what it reads, and
// noteRest reports what remains. So no field is dropped silently.
type fields struct {
	left   map[string]any
	path   string
	object string
	note   func(Note)
}

// at returns the path of a field, for notes.
func (f fields) at(name string) string {
	if f.path == "" {
		return name
	}
	return f.path + "." + name
}

// take removes and returns a field, or nil.
func (f fields) take(name string) any {
	v := f.left[name]
	delete(f.left, name)
	return v
}

// unreadable reports that a field has the wrong type.
func (f fields) unreadable(name string, v any) {
	f.note(Note{Severity: NoEqual, Object: f.object, Field: f.at(name), Value: brief(name, v), Reason: "can't be read; it is left out"})
}

func (f fields) text(name string) string {
	switch v := f.take(name).(type) {
	case nil:
	case string:
		return strings.TrimSpace(v)
	case int64, float64, bool:
		return fmt.Sprint(v)
	default:
		f.unreadable(name, v)
	}
	return ""
}

// number returns a whole number; false: there is none.
func (f fields) number(name string) (int64, bool) {
	v := f.take(name)
	n, ok := whole(v)
	if !ok && v != nil {
		f.unreadable(name, v)
	}
	return n, ok
}

// small returns a number of 32 bits; 0: there is none.
func (f fields) small(name string) int32 {
	v := f.take(name)
	n, ok := whole(v)
	if int64(int32(n)) != n || !ok && v != nil {
		f.unreadable(name, v)
		return 0
	}
	return int32(n)
}

// password returns a text unchanged, with spaces at its ends.
func (f fields) password(name string) string {
	if text, ok := f.left[name].(string); ok {
		f.take(name)
		return text
	}
	return f.text(name)
}

// whole parses a whole number as JSON, YAML and people write it.
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
		f.unreadable(name, v)
	}
	return false
}

// has reports whether a field is there and not read yet.
func (f fields) has(name string) bool { return f.left[name] != nil }

func (f fields) texts(name string) []string {
	var out []string
	f.into(name, &out)
	return out
}

// selectors reads a list of label selectors; selector reads one, as a list.
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
		return nil // it selects everything
	}
	return []metav1.LabelSelector{out}
}

// into decodes a whole field, or reports it and decodes nothing.
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
		f.unreadable(name, v)
	}
}

// sub returns the fields of a field; empty if it is not there.
func (f fields) sub(name string) fields {
	m, ok := f.left[name].(map[string]any)
	if !ok {
		if v := f.take(name); v != nil {
			f.unreadable(name, v)
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
			f.unreadable(name, v)
		}
		return nil
	}
	var out []fields
	for i, x := range list {
		if m, ok := x.(map[string]any); ok {
			out = append(out, fields{m, fmt.Sprintf("%s[%d]", f.at(name), i), f.object, f.note})
		} else {
			f.unreadable(fmt.Sprintf("%s[%d]", name, i), x)
			list[i] = nil
		}
	}
	return out
}

// drop removes a field and, unless it is absent or zero, reports why it is not
// converted.
func (f fields) drop(g Severity, name, format string, args ...any) {
	v := f.take(name)
	if empty(v) {
		return
	}
	f.noteField(g, name, v, format, args...)
}

// noteField adds a note about a field that was read.
func (f fields) noteField(g Severity, name string, v any, format string, args ...any) {
	f.note(Note{Severity: g, Object: f.object, Field: f.at(name), Value: brief(name, v), Reason: fmt.Sprintf(format, args...)})
}

// empty reports whether a value is zero, or has zero values only.
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

// rest reports all fields that were not read.
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
		f.note(Note{Severity: NoEqual, Object: f.object, Field: path, Value: brief(name, v), Reason: "this field is not known here; it is left out"})
	}
}

// brief returns a value in a few words; nothing for a secret.
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

// withoutSecrets returns v with "..." for the values of fields that may hold a
// password, at any depth, also of {name: …, value: …}.
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
