package link

import "time"

// bounce is for how long a link may lose its carrier before that is told. A
// shorter cut moves no address to another node: that would be slower.
const bounce = 100 * time.Millisecond

// Cuts remembers which links are down, and since when. The zero Cuts is ready.
type Cuts map[string]time.Time

// Links returns the links as they are to be told, and when to look again.
func (c *Cuts) Links(devices []Device, now time.Time) ([]Link, time.Duration) {
	next := time.Hour // there is nothing to wait for
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
