package bfd

import "time"

// machine is one side of a session: the variables of RFC 5880 §6.8.1 and the
// rules of §6.8, without a clock, a socket or a source of chance. An input
// (configure, leave, receive, expire) changes the variables; what there is to
// send then, emit says, until it has nothing more; next is when to call expire
// and emit if nothing arrives.
type machine struct {
	want Session // with its defaults

	status     Status
	diagnostic Diagnostic
	since      time.Time
	discr      uint32
	ups        uint64
	lastOutage Outage

	// What the packets say, and what is in force: while Up, a longer transmit
	// interval and a shorter time to detect wait for the end of the Poll Sequence
	// that tells of them (§6.8.3).
	said    Timers
	inForce Timers
	polling bool // a Poll Sequence is under way, for said
	final   bool // an answer to a Poll is due

	remote       remote
	lastReceived time.Time // zero: nothing within the last detection time
	nextSend     time.Time // of the next periodic packet
	jitter       float64   // the part of the interval until it
	left         time.Time // when to forget the session; zero: it is wanted

	sendSequence    uint32
	receiveSequence uint32    // of the last authentic packet
	sequenceUntil   time.Time // how long receiveSequence counts (§6.8.1, bfd.AuthSeqKnown)
}

// remote is what the peer said last.
type remote struct {
	status     Status
	diagnostic Diagnostic
	discr      uint32
	demand     bool
	timers     Timers
}

// unheard is a peer of which nothing is known (§6.8.1): it may be sent to.
func unheard() remote {
	return remote{status: Down, timers: Timers{RequiredMinRx: time.Microsecond}}
}

// newMachine starts a session. discr must be unlike any other session's and
// not 0; sequence should be unpredictable.
func newMachine(now time.Time, want Session, discr, sequence uint32) *machine {
	m := &machine{status: Down, since: now, discr: discr, jitter: 1, sendSequence: sequence, remote: unheard(), nextSend: now}
	m.configure(now, want)
	return m
}

// configure takes over what is wanted now of the same Path.
func (m *machine) configure(now time.Time, want Session) {
	m.want, m.left = want.withDefaults(), time.Time{}
	switch {
	case want.Disabled && m.status != AdminDown:
		m.enter(now, AdminDown, AdministrativelyDown)
	case !want.Disabled && m.status == AdminDown:
		m.enter(now, Down, NoDiagnostic)
	default:
		m.announce(now)
	}
}

// longestLeave bounds how long a session that is no longer wanted tells its
// peer so.
const longestLeave = 10 * time.Second

// leave makes the session AdminDown, and forgotten when a peer that knows of
// it had its detection time to hear that (§6.8.16).
func (m *machine) leave(now time.Time) {
	if !m.left.IsZero() {
		return
	}
	m.left = now
	if m.status != AdminDown {
		m.enter(now, AdminDown, AdministrativelyDown)
	}
	if m.remote.discr != 0 {
		m.left = now.Add(min(time.Duration(m.inForce.Multiplier)*m.interval(), longestLeave))
	}
}

// gone says that the session can be forgotten.
func (m *machine) gone(now time.Time) bool {
	return !m.left.IsZero() && !now.Before(m.left)
}

// enter changes the state, which the peer is told at once (§6.8.7).
func (m *machine) enter(now time.Time, to Status, why Diagnostic) {
	if m.status == Up {
		m.lastOutage = Outage{At: now, Diagnostic: why, RemoteStatus: m.remote.status, RemoteDiagnostic: m.remote.diagnostic}
	}
	m.status, m.since, m.polling, m.nextSend = to, now, false, now
	if to != Init { // until it is Up again, the peer may want to know why it was lost
		m.diagnostic = why
	}
	if to == Up {
		m.ups++
	}
	m.announce(now)
}

// announce brings what the packets say to what is wanted. While Up that takes a
// Poll Sequence, and one that is under way must end first (§6.5).
func (m *machine) announce(now time.Time) {
	wanted := Timers{DesiredMinTx: m.want.Transmit, RequiredMinRx: m.want.Receive, Multiplier: m.want.Multiplier}
	if m.status != Up {
		wanted.DesiredMinTx = max(wanted.DesiredMinTx, slowInterval)
	}
	if m.said == wanted || m.polling {
		return
	}
	m.said, m.nextSend = wanted, now
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

// detection is the time without a packet after which the peer counts as gone
// (§6.8.4), 0 while it was not heard.
func (m *machine) detection() time.Duration {
	return time.Duration(m.remote.timers.Multiplier) * max(m.inForce.RequiredMinRx, m.remote.timers.DesiredMinTx)
}

// silent says that no periodic packets may be sent (§6.8.7).
func (m *machine) silent() bool {
	demanded := m.remote.demand && m.status == Up && m.remote.status == Up && !m.polling
	return m.waiting() || demanded || m.remote.timers.RequiredMinRx == 0
}

// waiting says that it is the peer who must begin (§6.1).
func (m *machine) waiting() bool { return m.want.Passive && m.remote.discr == 0 }

// deadline is when the peer counts as gone; ok is false if it already does.
func (m *machine) deadline() (at time.Time, ok bool) {
	return m.lastReceived.Add(m.detection()), !m.lastReceived.IsZero()
}

// next is when something must be done if no packet arrives; ok is false if
// nothing need ever be.
func (m *machine) next() (at time.Time, ok bool) {
	at, ok = m.deadline()
	if !m.silent() && (!ok || m.nextSend.Before(at)) {
		at, ok = m.nextSend, true
	}
	if !m.left.IsZero() && (!ok || m.left.Before(at)) {
		at, ok = m.left, true
	}
	if m.final {
		at, ok = m.lastReceived, true
	}
	return at, ok
}

// expired says that the detection time is over.
func (m *machine) expired(now time.Time) bool {
	at, ok := m.deadline()
	return ok && !now.Before(at)
}

// expire ends the session, and what is known of its peer, if the detection
// time is over (§6.8.1, §6.8.4).
func (m *machine) expire(now time.Time) {
	if !m.expired(now) {
		return
	}
	m.lastReceived = time.Time{}
	if m.status == Init || m.status == Up {
		m.enter(now, Down, DetectionTimeExpired)
	}
	m.remote = unheard()
}

// receive takes a packet that was found to be for this session (§6.8.6). raw is
// what p and auth were parsed from. The error says why it is discarded.
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
		m.polling, m.inForce = false, m.said // emit starts the next Poll Sequence, if one is needed
	}
	if interval := m.interval(); interval < before {
		// A timer that was set for the longer interval would fake an outage.
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

// step is the state machine of §6.2, as §6.8.6 spells it.
func (m *machine) step(now time.Time, said Status) {
	switch {
	case said == AdminDown && m.status != Down, said == Down && m.status == Up:
		m.enter(now, Down, NeighborSignaledDown)
	case said == Down && m.status == Down:
		m.enter(now, Init, NoDiagnostic)
	case said == Init && m.status != Up, said == Up && m.status == Init:
		m.enter(now, Up, NoDiagnostic)
	}
}

// authenticate checks the authentication section (§6.7.4). The sequence number
// counts only if the error is nil.
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
	if now.Before(m.sequenceUntil) && (ahead == 0 || ahead > 3*uint32(p.Multiplier)) {
		return 0, ErrAuthSequence
	}
	return sequence, nil
}

// early is how much before its time a periodic packet may be sent, so that
// packets of many sessions share one wake-up.
func (m *machine) early() time.Duration { return m.interval() / 64 }

// due says that emit has something.
func (m *machine) due(now time.Time) bool {
	return m.final || !m.silent() && !now.Before(m.nextSend.Add(-m.early()))
}

// part is interval less its jitter.
func (m *machine) part(interval time.Duration) time.Duration {
	return time.Duration(m.jitter * float64(interval))
}

// emit appends to b the next packet that is due; ok is false if none is. chance
// is a random number from 0 up to, not including, 1.
func (m *machine) emit(now time.Time, chance float64, b []byte) (_ []byte, ok bool) {
	if !m.due(now) {
		return b, false
	}
	final := m.final
	m.final = false
	if !final {
		m.announce(now)
		// §6.8.7: 75 to 100 % of the interval, of which early may yet be taken off;
		// with a multiplier of 1 no more than 90 %.
		most, least := 1.0, 0.75+1.0/64
		if m.said.Multiplier == 1 {
			most = 0.9
		}
		m.jitter = least + (most-least)*chance
		m.nextSend = now.Add(m.part(m.interval()))
	}
	p := Packet{
		Diagnostic: m.diagnostic, Status: m.status, Poll: m.polling && !final, Final: final,
		Multiplier: m.said.Multiplier, MyDiscr: m.discr, YourDiscr: m.remote.discr,
		DesiredMinTx: m.said.DesiredMinTx, RequiredMinRx: m.said.RequiredMinRx,
	}
	start := len(b)
	b = p.Append(b)
	if len(m.want.Keys) > 0 {
		m.sendSequence++
		b = append(b[:start], sign(b[start:], m.want.Keys[0], m.sendSequence)...)
	}
	return b, true
}
