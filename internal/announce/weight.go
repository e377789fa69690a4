package announce

// keepsUnready reports whether the present owner keeps an address although kube-proxy does not
// forward there, and so others were preferred: that does not count for what it has.
func (s Snapshot) keepsUnready(holders []holder, held HeldClaim, all []*Node) bool {
	n := *s.node(held.Node)
	if !n.Unready || len(all) == 0 {
		return false
	}
	n.Unready = false
	weight, ok := weightOf(holders, &n)
	top, _ := weightOf(holders, all[0])
	return ok && weight >= top
}

// yielding is what a node that yields, or is not ready, weighs less than others: more than all
// preferences together.
const yielding = 1 << 30

// weightOf returns the sum of the preferences for n, and whether n may answer for the address
// of holders. A holder that no advertisement covers does not matter.
func weightOf(holders []holder, n *Node) (weight int, ok bool) {
	if n.Yields || n.Unready {
		weight = -yielding
	}
	for _, u := range holders {
		if len(u.ads) == 0 {
			continue
		}
		if u.excludes(n) != "" {
			return 0, false
		}
		weight, ok = weight+u.weight(n), true
	}
	return weight, ok
}
