package membership

import (
	"fmt"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/growth"
)

// TestSize shows that a message costs the same however many members there are.
func TestSize(t *testing.T) {
	growth.Test(t, []growth.Work{{Name: "what others see, among 1,000 members", Items: 1000, Prepare: func(n int) func() {
		now := time.Unix(1000, 0)
		s := NewState("n0", 1)
		var all []Member
		for i := range n {
			all = append(all, Member{Name: fmt.Sprint("n", i)})
		}
		s.SetMembers(now, all, time.Second)
		from := s.Neighbors()
		return func() {
			for i := range n {
				s.Step(now, Message{From: from[i%len(from)], Alive: &update{Member: all[i%8].Name}})
			}
			s.Ready()
		}
	}}})
}
