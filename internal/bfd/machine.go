package bfd

import "time"

// machine is one side of a session: the variables of RFC 5880 §6.8.1 and the rules of
// §6.8, without a clock, a socket or a random source. An input (configure, retire,
// receive, expire) changes the variables. After it the caller calls emit until emit
// returns no packet. next is when to call expire and emit if nothing arrives.
type machine struct {
	want Session // with its defaults

	status     Status
	diagnostic Diagnostic
	since      time.Time
	discr      uint32
	ups        uint64
	lastOutage Outage

	// The timers that the packets carry, and those in force: while Up, a longer transmit
	// interval and a shorter detection time take effect at the end of the Poll Sequence
	// that announces them (§6.8.3).
	advertised Timers
	inForce    Timers
	polling    bool // a Poll Sequence is under way, for advertised
	final      bool // an answer to a Poll is due

	remote       remote
	lastReceived time.Time // zero: nothing within the last detection time
	nextSend     time.Time // of the next periodic packet
	jitter       float64   // the fraction of the interval until nextSend
	forgetAt     time.Time // when to forget the session; zero: it is wanted

	sendSequence    uint32
	receiveSequence uint32    // of the last authentic packet
	sequenceUntil   time.Time // until when receiveSequence is checked (§6.8.1, bfd.AuthSeqKnown)
}

// remote is the content of the peer's last packet.
type remote struct {
	status     Status
	diagnostic Diagnostic
	discr      uint32
	demand     bool
	timers     Timers
}

// unknownPeer is the remote state before the first packet (§6.8.1). It allows sending.
func unknownPeer() remote {
	return remote{status: Down, timers: Timers{RequiredMinRx: time.Microsecond}}
}

// newMachine starts a session. discr must be unique among the sessions and not 0;
// sequence should be unpredictable.
func newMachine(now time.Time, want Session, discr, sequence uint32) *machine {
	m := &machine{status: Down, since: now, discr: discr, jitter: 1, sendSequence: sequence, remote: unknownPeer(), nextSend: now}
	m.configure(now, want)
	return m
}

// configure applies a new configuration of the same Path.
func (m *machine) configure(now time.Time, want Session) {
	m.want, m.forgetAt = want.withDefaults(), time.Time{}
	switch {
	case want.Disabled && m.status != AdminDown:
		m.enter(now, AdminDown, AdministrativelyDown)
	case !want.Disabled && m.status == AdminDown:
		m.enter(now, Down, NoDiagnostic)
	default:
		m.announce(now)
	}
}

// maxAdminDown limits how long a session that is no longer wanted signals AdminDown.
const maxAdminDown = 10 * time.Second

// retire makes the session AdminDown, and has it forgotten one detection time later, so
// that a peer that knows of the session can receive the signal (§6.8.16).
func (m *machine) retire(now time.Time) {
	if !m.forgetAt.IsZero() {
		return
	}
	m.forgetAt = now
	if m.status != AdminDown {
		m.enter(now, AdminDown, AdministrativelyDown)
	}
	if m.remote.discr != 0 {
		m.forgetAt = now.Add(min(time.Duration(m.inForce.Multiplier)*m.interval(), maxAdminDown))
	}
}

// forgettable reports whether the session can be forgotten.
func (m *machine) forgettable(now time.Time) bool {
	return !m.forgetAt.IsZero() && !now.Before(m.forgetAt)
}

// enter changes the state, and has the next packet sent at once (§6.8.7).
func (m *machine) enter(now time.Time, to Status, diagnostic Diagnostic) {
	if m.status == Up {
		m.lastOutage = Outage{At: now, Diagnostic: diagnostic, RemoteStatus: m.remote.status, RemoteDiagnostic: m.remote.diagnostic}
	}
	m.status, m.since, m.polling, m.nextSend = to, now, false, now
	if to != Init { // until the session is Up again, the packets say why it was lost
		m.diagnostic = diagnostic
	}
	if to == Up {
		m.ups++
	}
	m.announce(now)
}

// announce puts the wanted timers into the packets. While Up that takes a Poll
// Sequence, and one that is under way must end first (§6.5).
func (m *machine) announce(now time.Time) {
	wanted := Timers{DesiredMinTx: m.want.Transmit, RequiredMinRx: m.want.Receive, Multiplier: m.want.Multiplier}
	if m.status != Up {
		wanted.DesiredMinTx = max(wanted.DesiredMinTx, slowInterval)
	}
	if m.advertised == wanted || m.polling {
		return
	}
	m.advertised, m.nextSend = wanted, now
	if m.status != Up {
		m.inForce = wanted
		return
	}
	m.polling = true
	m.inForce = Timers{
		DesiredMinTx:  min(m.inForce.DesiredMinTx, wanted.DesiredMinTx),
		RequiredMinRx: max(m.inForce.RequiredMinRx, wanted.RequiredMinRx),
		Multiplier:    wanted.Multiplier,
	}
}

// interval is the agreed transmit interval (§6.8.2), 0 if the peer wants none.
func (m *machine) interval() time.Duration {
	if m.remote.timers.RequiredMinRx == 0 {
		return 0
	}
	return max(m.inForce.DesiredMinTx, m.remote.timers.RequiredMinRx)
}

// detection is the time without a packet after which the session is Down (§6.8.4), 0
// before the first packet.
func (m *machine) detection() time.Duration {
	return time.Duration(m.remote.timers.Multiplier) * max(m.inForce.RequiredMinRx, m.remote.timers.DesiredMinTx)
}

// suppressed reports whether periodic packets must not be sent (§6.8.7).
func (m *machine) suppressed() bool {
	demanded := m.remote.demand && m.status == Up && m.remote.status == Up && !m.polling
	return m.waiting() || demanded || m.remote.timers.RequiredMinRx == 0
}

// waiting reports whether the peer must send first (§6.1).
func (m *machine) waiting() bool { return m.want.Passive && m.remote.discr == 0 }

// deadline is when the detection time ends; ok is false if none is running.
func (m *machine) deadline() (at time.Time, ok bool) {
	return m.lastReceived.Add(m.detection()), !m.lastReceived.IsZero()
}

// next is when work is due if no packet arrives; ok is false if none ever is.
func (m *machine) next() (at time.Time, ok bool) {
	at, ok = m.deadline()
	if !m.suppressed() && (!ok || m.nextSend.Before(at)) {
		at, ok = m.nextSend, true
	}
	if !m.forgetAt.IsZero() && (!ok || m.forgetAt.Before(at)) {
		at, ok = m.forgetAt, true
	}
	if m.final {
		at, ok = m.lastReceived, true
	}
	return at, ok
}

// expired reports whether the detection time is over.
func (m *machine) expired(now time.Time) bool {
	at, ok := m.deadline()
	return ok && !now.Before(at)
}

// expire takes the session Down and forgets the peer's state, if the detection time is
// over (§6.8.1, §6.8.4).
func (m *machine) expire(now time.Time) {
	if !m.expired(now) {
		return
	}
	m.lastReceived = time.Time{}
	if m.status == Init || m.status == Up {
		m.enter(now, Down, DetectionTimeExpired)
	}
	m.remote = unknownPeer()
}

// receive handles a packet of this session (§6.8.6). raw is what p and auth were parsed
// from. The error says why the packet is discarded.
func (m *machine) receive(now time.Time, p Packet, raw, auth []byte) error {
	sequence, err := m.authenticate(now, p, raw, auth)
	if err != nil {
		return err
	}
	before := m.interval()
	m.lastReceived = now
	m.remote = remote{
		status: p.Status, diagnostic: p.Diagnostic, discr: p.MyDiscr, demand: p.Demand,
		timers: Timers{DesiredMinTx: p.DesiredMinTx, RequiredMinRx: p.RequiredMinRx, Multiplier: p.Multiplier},
	}
	m.receiveSequence = sequence
	if m.sequenceUntil = now.Add(2 * m.detection()); auth == nil {
		m.sequenceUntil = time.Time{}
	}
	if p.Final && m.polling {
		m.polling, m.inForce = false, m.advertised // emit starts the next Poll Sequence, if one is needed
	}
	if interval := m.interval(); interval < before {
		// The peer would time out if it had to wait for the longer interval.
		if soon := now.Add(m.part(interval)); soon.Before(m.nextSend) {
			m.nextSend = soon
		}
	}
	if m.status == AdminDown {
		return nil
	}
	m.step(now, p.Status)
	m.final = p.Poll
	return nil
}

// step is the state machine of §6.2, as §6.8.6 writes it.
func (m *machine) step(now time.Time, remote Status) {
	switch {
	case remote == AdminDown && m.status != Down, remote == Down && m.status == Up:
		m.enter(now, Down, NeighborSignaledDown)
	case remote == Down && m.status == Down:
		m.enter(now, Init, NoDiagnostic)
	case remote == Init && m.status != Up, remote == Up && m.status == Init:
		m.enter(now, Up, NoDiagnostic)
	}
}

// authenticate checks the authentication section (§6.7.4). The sequence number is valid
// only if the error is nil.
func (m *machine) authenticate(now time.Time, p Packet, raw, auth []byte) (sequence uint32, err error) {
	switch {
	case auth == nil && len(m.want.Keys) == 0:
		return 0, nil
	case auth == nil:
		return 0, ErrAuthMissing
	case len(m.want.Keys) == 0:
		return 0, ErrAuthUnwanted
	}
	sequence, err = verify(raw, auth, m.want.Keys)
	if err != nil {
		return 0, err
	}
	ahead := sequence - m.receiveSequence // circular
	again := ahead == 0 && auth[0] == meticulousSHA1
	if now.Before(m.sequenceUntil) && (again || ahead > 3*uint32(p.Multiplier)) {
		return 0, ErrAuthSequence
	}
	return sequence, nil
}

// early is how long before its time a periodic packet may be sent, so that the packets
// of many sessions share one wake-up.
func (m *machine) early() time.Duration { return m.interval() / 64 }

// due reports whether emit has a packet.
func (m *machine) due(now time.Time) bool {
	return m.final || !m.suppressed() && !now.Before(m.nextSend.Add(-m.early()))
}

// part returns interval reduced by the jitter.
func (m *machine) part(interval time.Duration) time.Duration {
	return time.Duration(m.jitter * float64(interval))
}

// emit appends to b the next packet that is due; ok is false if none is. chance is a
// random number in [0, 1).
func (m *machine) emit(now time.Time, chance float64, b []byte) (_ []byte, ok bool) {
	if !m.due(now) {
		return b, false
	}
	final := m.final
	m.final = false
	if !final {
		m.announce(now)
		// §6.8.7: 75 to 100 % of the interval, less what early allows; with a multiplier
		// of 1 no more than 90 %.
		most, least := 1.0, 0.75+1.0/64
		if m.advertised.Multiplier == 1 {
			most = 0.9
		}
		m.jitter = least + (most-least)*chance
		m.nextSend = now.Add(m.part(m.interval()))
	}
	p := Packet{
		Diagnostic: m.diagnostic, Status: m.status, Poll: m.polling && !final, Final: final,
		Multiplier: m.advertised.Multiplier, MyDiscr: m.discr, YourDiscr: m.remote.discr,
		DesiredMinTx: m.advertised.DesiredMinTx, RequiredMinRx: m.advertised.RequiredMinRx,
	}
	start := len(b)
	b = p.Append(b)
	if len(m.want.Keys) > 0 {
		m.sendSequence++
		b = append(b[:start], sign(b[start:], m.want.Keys[0], m.sendSequence)...)
	}
	return b, true
}
