package migrate

import (
	"regexp/syntax"
	"strings"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// globs converts regular expressions for the names of network interfaces, which match
// anywhere in a name, to globs, which match a whole name. It reports where a glob
// matches more than the expression.
func (d *draft) globs(f fields, name string, patterns []string) []v1beta1.InterfacePattern {
	var out []v1beta1.InterfacePattern
	for _, p := range patterns {
		globs, exact := globsOf(p)
		switch {
		case len(globs) == 0:
			f.noteField(NoEqual, name, p, "this pattern can't be written as a glob; name the interfaces")
		case !exact:
			f.noteField(Changed, name, p, "it is a regular expression; the globs %v match more", globs)
		}
		for _, g := range globs {
			out = append(out, v1beta1.InterfacePattern(g))
		}
	}
	return out
}

// globsOf returns globs that together match what a regular expression matches; exact:
// nothing else. None: there are no such globs.
func globsOf(pattern string) (globs []string, exact bool) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, false
	}
	re = re.Simplify()
	alternatives := []*syntax.Regexp{re}
	if re.Op == syntax.OpAlternate {
		alternatives = re.Sub
	}
	exact = true
	for _, a := range alternatives {
		g, ok, same := globOf(a)
		if !ok {
			return nil, false
		}
		globs, exact = append(globs, g), exact && same
	}
	return globs, exact
}

// globOf converts one expression without alternatives to a glob.
func globOf(re *syntax.Regexp) (glob string, ok, exact bool) {
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	var b strings.Builder
	exact = true
	begins, ends := false, false
	for i, p := range parts {
		switch {
		case (p.Op == syntax.OpBeginText || p.Op == syntax.OpBeginLine) && i == 0:
			begins = true
		case (p.Op == syntax.OpEndText || p.Op == syntax.OpEndLine) && i == len(parts)-1:
			ends = true
		default:
			text, same := partOf(p)
			if text == "" {
				return "", false, false
			}
			b.WriteString(text)
			exact = exact && same
		}
	}
	glob = b.String()
	if !begins {
		glob = "*" + glob
	}
	if !ends {
		glob += "*"
	}
	for strings.Contains(glob, "**") {
		glob = strings.ReplaceAll(glob, "**", "*")
	}
	return glob, true, exact
}

// partOf converts one part of an expression to a part of a glob that matches at least
// the same; "": there is none.
func partOf(p *syntax.Regexp) (text string, exact bool) {
	switch p.Op {
	case syntax.OpLiteral:
		if s := string(p.Rune); !strings.ContainsAny(s, `*?[]\/ `) && p.Flags&syntax.FoldCase == 0 {
			return s, true
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "?", true
	case syntax.OpCharClass:
		return class(p.Rune)
	case syntax.OpStar:
		return "*", p.Sub[0].Op == syntax.OpAnyChar || p.Sub[0].Op == syntax.OpAnyCharNotNL
	case syntax.OpPlus:
		one, exact := partOf(p.Sub[0])
		if one != "" {
			return one + "*", exact && one == "?"
		}
	case syntax.OpQuest:
		return "*", false
	case syntax.OpCapture:
		return partOf(p.Sub[0])
	}
	return "", false
}

// class returns a class of characters as in a glob.
func class(ranges []rune) (string, bool) {
	var b strings.Builder
	for i := 0; i+1 < len(ranges); i += 2 {
		lo, hi := ranges[i], ranges[i+1]
		if hi > 'z' || strings.ContainsRune(`[]\^-`, lo) || strings.ContainsRune(`[]\^-`, hi) {
			return "?", false // such as "all but"
		}
		b.WriteRune(lo)
		if hi > lo {
			b.WriteString("-" + string(hi))
		}
	}
	return "[" + b.String() + "]", true
}
