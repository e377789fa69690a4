package ledger_test

import (
	"net/netip"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/source/contract"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

// direct is a ledger that is asked without a wire.
type direct struct{ *ledger.Ledger }

func (d direct) Allocate(r ledger.Request) (netip.Addr, error) {
	a, _, err := d.Ledger.Allocate(r)
	return a.Addr, err
}

func (d direct) Release(cluster, uid string, a netip.Addr) error {
	d.Ledger.Release(cluster, uid, a)
	return nil
}

func (d direct) List(cluster string) ([]ledger.Allocation, error) { return d.Ledger.List(cluster), nil }

func TestContract(t *testing.T) {
	contract.Run(t, func(*testing.T) contract.IPAM { return direct{ledger.New(contract.Pools(), nil)} })
}

// A ledger that is made of what another one had goes on as that one.
func TestALedgerIsWhatItHolds(t *testing.T) {
	contract.Run(t, func(*testing.T) contract.IPAM { return &reborn{ledger.New(contract.Pools(), nil)} })
}

// reborn begins again after each call.
type reborn struct{ l *ledger.Ledger }

func (r *reborn) again() { r.l = ledger.New(contract.Pools(), r.l.All()) }

func (r *reborn) Allocate(q ledger.Request) (netip.Addr, error) {
	defer r.again()
	return direct{r.l}.Allocate(q)
}

func (r *reborn) Release(cluster, uid string, a netip.Addr) error {
	defer r.again()
	return direct{r.l}.Release(cluster, uid, a)
}

func (r *reborn) List(cluster string) ([]ledger.Allocation, error) { return r.l.List(cluster), nil }
