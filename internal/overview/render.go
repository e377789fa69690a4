package overview

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"reflect"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
)

// Renderer renders pages. Make one with NewRenderer.
type Renderer struct {
	template *template.Template
	policy   string
}

// NewRenderer returns a Renderer.
func NewRenderer() (*Renderer, error) {
	t, err := template.New("page").Funcs(template.FuncMap{
		"age":   age,
		"join":  func(words []string) string { return strings.Join(words, ", ") },
		"bar":   func(percent float64) string { return fmt.Sprintf("%.1f", percent) },
		"stamp": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"clock": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	}).Parse(pageHTML)
	if err != nil {
		return nil, fmt.Errorf("parse the page: %w", err)
	}
	sum := sha256.Sum256([]byte(pageCSS))
	return &Renderer{t, fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		base64.StdEncoding.EncodeToString(sum[:]))}, nil
}

// Policy returns the Content-Security-Policy of the page: its own style sheet only,
// no script, and no frame around it.
func (r *Renderer) Policy() string { return r.policy }

// Render returns the page.
func (r *Renderer) Render(o Objects, scene Scene) ([]byte, error) {
	p := pageOf(o, scene)
	printed(reflect.ValueOf(&p).Elem(), printable.Word)
	p.Style = template.CSS(pageCSS)
	var out bytes.Buffer
	if err := r.template.Execute(&out, p); err != nil {
		return nil, fmt.Errorf("render the page: %w", err)
	}
	return out.Bytes(), nil
}

// printed makes all texts of a page printable and short, in place, since they may be
// foreign. Fields with sentences may be longer. Lists of words are cut.
func printed(v reflect.Value, show func(string) string) {
	switch {
	case !v.CanSet():
	case v.Kind() == reflect.String:
		v.SetString(show(v.String()))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			switch v.Type().Field(i).Name {
			case "Message", "Error", "BFD":
				printed(v.Field(i), printable.Message)
			default:
				printed(v.Field(i), printable.Word)
			}
		}
	case v.Type() == reflect.TypeFor[[]string]():
		v.Set(reflect.ValueOf(printable.Words(v.Interface().([]string))))
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			printed(v.Index(i), show)
		}
	}
}

// age returns how long ago something was, in its two largest units.
func age(now time.Time, then *metav1.Time) string {
	if then == nil || then.IsZero() {
		return "–"
	}
	d := max(now.Sub(then.Time), 0)
	day := 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%d d %d h", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}
