package intent

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

const (
	// maxWrong is from how many wrong letters on a name is not taken for a misspelled one.
	maxWrong = 8
	// maxWrongDomain is the same for the domain before it: steelyard.io has three.
	maxWrongDomain = 5
)

// Requests returns the annotations of ours by which a Service asks for something.
func Requests() []string {
	return []string{v1beta1.AnnotationLoadBalancerIPs, v1beta1.AnnotationAddressPool, v1beta1.AnnotationAddressCount, v1beta1.AnnotationAllowSharedIP}
}

// UnknownAnnotations returns those annotations of svc that are most likely a slip, sorted:
// under our own prefix those that mean nothing, and misspelled ones of ours under a prefix
// that is nearly ours.
func UnknownAnnotations(svc *corev1.Service) []string {
	var out []string
	for name := range svc.Annotations {
		if slices.Contains(Requests(), name) || name == v1beta1.AnnotationPool || name == v1beta1.AnnotationRenumbering || name == v1beta1.AnnotationFinalizer {
			continue
		}
		domain, _, has := strings.Cut(name, "/")
		if has && (domain == v1beta1.Group || wrong(domain, v1beta1.Group, maxWrongDomain) < maxWrongDomain && meant(name) != "") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// SlipsText puts what UnknownAnnotations returns in words; "": it returns nothing. The
// text is short, however many there are.
func SlipsText(names []string) string {
	if len(names) == 0 {
		return ""
	}
	annotation, means := "annotation ", " means nothing: "
	if len(names) > 1 {
		annotation, means = "annotations ", " mean nothing: "
	}
	return annotation + printable.List(names) + means + Suggestion(names...)
}

// Suggestion names the annotations that were most likely meant by those, which mean nothing.
func Suggestion(names ...string) string {
	var out []string
	for _, name := range names[:min(len(names), printable.MaxList)] {
		if m := meant(name); m != "" && !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	if len(out) == 0 {
		return "there are " + strings.Join(Requests(), ", ")
	}
	return "do you mean " + strings.Join(out, ", ") + "?"
}

// meant returns the annotation of ours that is likest to name, by what follows the domain;
// "": none is.
func meant(name string) string {
	_, name, _ = strings.Cut(name, "/")
	best, least := "", maxWrong
	for _, k := range Requests() {
		if d := wrong(name, strings.TrimPrefix(k, v1beta1.Group+"/"), least); d < least {
			best, least = k, d
		}
	}
	return best
}

// wrong returns how many letters of text are wrong if right was meant, whatever their case;
// most, if it is that many at least.
func wrong(text, right string, most int) int {
	if max(len(text)-len(right), len(right)-len(text)) >= most {
		return most
	}
	return min(most, Distance(strings.ToLower(text), strings.ToLower(right)))
}

// Distance is how many letters must be added, dropped or changed to make b of a
// (Levenshtein).
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
