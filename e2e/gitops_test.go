package e2e

import (
	"encoding/json"
	"os"
	"testing"

	lua "github.com/yuin/gopher-lua"
)

// luaOf turns what was decoded from JSON into a value of Lua.
func luaOf(l *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case map[string]any:
		t := l.NewTable()
		for key, value := range v {
			t.RawSetString(key, luaOf(l, value))
		}
		return t
	case []any:
		t := l.NewTable()
		for _, value := range v {
			t.Append(luaOf(l, value))
		}
		return t
	case string:
		return lua.LString(v)
	case float64:
		return lua.LNumber(v)
	case bool:
		return lua.LBool(v)
	}
	return lua.LNil
}

// TestHealthChecksForArgo runs the scripts of docs/how-to/gitops.md as Argo CD does, with
// the object as obj.
func TestHealthChecksForArgo(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/how-to/gitops.md")
	if err != nil {
		t.Fatal(err)
	}
	p, err := readPage("gitops.md", string(text))
	if err != nil {
		t.Fatal(err)
	}
	scripts := map[string]string{}
	for _, b := range p.blocks {
		if b.language == "lua" {
			scripts[b.file] = b.text
		}
	}
	for _, c := range []struct{ name, script, object, status, message string }{
		{"new", "health.lua", `{"metadata": {"generation": 1}}`, "Progressing", "not looked at yet"},
		{"programmed", "health.lua", `{"metadata": {"generation": 2}, "status": {"conditions": [
			{"type": "Programmed", "status": "True", "observedGeneration": 2, "message": "all of it"}, {"type": "Accepted", "status": "True", "observedGeneration": 2}]}}`, "Healthy", "all of it"},
		{"edited, and not looked at again", "health.lua", `{"metadata": {"generation": 3}, "status": {"conditions": [
			{"type": "Programmed", "status": "True", "observedGeneration": 2, "message": "all of it"}]}}`, "Progressing", "not looked at yet"},
		{"refused", "health.lua", `{"metadata": {"generation": 1}, "status": {"conditions": [
			{"type": "Programmed", "status": "False", "observedGeneration": 1, "reason": "Invalid", "message": "a"}, {"type": "Accepted", "status": "False", "observedGeneration": 1, "reason": "Invalid", "message": "spec.addresses"}]}}`, "Degraded", "Invalid: spec.addresses"},
		{"not in force", "health.lua", `{"metadata": {"generation": 1}, "status": {"conditions": [
			{"type": "Programmed", "status": "False", "observedGeneration": 1, "reason": "NoSessionEstablished", "message": "0 of 3"}]}}`, "Degraded", "0 of 3"},
		{"a Service without load balancer", "service.lua", `{"spec": {"type": "ClusterIP"}}`, "Healthy", ""},
		{"a Service that waits", "service.lua", `{"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {}}}`, "Progressing", ""},
		{"one that gets no address", "service.lua", `{"spec": {"type": "LoadBalancer"}, "status": {"conditions": [
			{"type": "steelyard.dev/Allocated", "status": "False", "reason": "NoPool", "message": "none serves it"}]}}`, "Degraded", "NoPool: none serves it"},
		{"one that is not announced", "service.lua", `{"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}, "conditions": [
			{"type": "steelyard.dev/Allocated", "status": "True"}, {"type": "steelyard.dev/Announced", "status": "False", "reason": "NoNode", "message": "m"}]}}`, "Degraded", "NoNode: m"},
		{"one that is served", "service.lua", `{"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}`, "Healthy", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var object any
			if err := json.Unmarshal([]byte(c.object), &object); err != nil {
				t.Fatal(err)
			}
			l := lua.NewState()
			defer l.Close()
			l.SetGlobal("obj", luaOf(l, object))
			if err := l.DoString(scripts[c.script]); err != nil {
				t.Fatal(err)
			}
			health, ok := l.Get(-1).(*lua.LTable)
			if !ok {
				t.Fatalf("want a table, have %s", l.Get(-1))
			}
			message := ""
			if m := health.RawGetString("message"); m != lua.LNil {
				message = m.String()
			}
			if status := health.RawGetString("status").String(); status != c.status || message != c.message {
				t.Errorf("want %s: %q, have %s: %q", c.status, c.message, status, message)
			}
		})
	}
}
