package growth

import "testing"

// pairs does something for each of so whole items, with each of others.
func pairs(items, others int) func() {
	return func() {
		sum := 0
		for i := range items {
			for j := range others {
				sum += i ^ j
			}
		}
		if sum < 0 {
			panic("no sum is negative")
		}
	}
}

func TestQuadraticWorkIsFoundOut(t *testing.T) {
	linear := Work{Items: 3000, Prepare: func(n int) func() { return pairs(n, 1000) }}
	if r := linear.measure(Most).ratio(); r > Most {
		t.Errorf("linear work: the ratio is %.1f", r)
	}
	quadratic := Work{Items: 3000, Prepare: func(n int) func() { return pairs(n, n) }}
	if r := quadratic.measure(Most).ratio(); r <= Most {
		t.Errorf("quadratic work: the ratio is %.1f", r)
	}
}
