package link

import "time"

// bounce is for how long a link may lose its carrier and still count as up. Moving
// its addresses to another node would take longer.
const bounce = 100 * time.Millisecond

// Cuts remembers which links are down, and since when. The zero Cuts is ready.
type Cuts map[string]time.Time

// Links returns the links as they count, and after how long to call it again.
func (c *Cuts) Links(devices []Device, now time.Time) ([]Link, time.Duration) {
	next := time.Hour // nothing to wait for
	links, still := make([]Link, len(devices)), Cuts{}
	for i, d := range devices {
		links[i] = d.Link
		since, known := (*c)[d.Name]
		if d.Up {
			still[d.Name] = time.Time{}
			continue
		}
		if !known {
			continue // it was never up
		}
		if since.IsZero() {
			since = now
		}
		still[d.Name] = since
		if left := bounce - now.Sub(since); left > 0 {
			links[i].Up = true
			next = min(next, left)
		}
	}
	*c = still
	return links, next
}
