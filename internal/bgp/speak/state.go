package speak

import api "github.com/osrg/gobgp/v3/api"

// SessionState is the state of a session, by its name in RFC 4271 section 8.2.2.
type SessionState string

// The states of a session. Connect is never seen: gobgp counts the time in
// which it dials as Active.
const (
	Idle        SessionState = "Idle"
	Connect     SessionState = "Connect"
	Active      SessionState = "Active"
	OpenSent    SessionState = "OpenSent"
	OpenConfirm SessionState = "OpenConfirm"
	Established SessionState = "Established"
)

// event passes on what a server says of its peer's session. The server has a
// goroutine for it, so states come in order.
func (h *hearing) event(e *api.WatchEventResponse) {
	p := e.GetPeer()
	if p.GetType() != api.WatchEventResponse_PeerEvent_STATE {
		return // the end of a list that is empty, or the session of a deleted peer
	}
	state := p.GetPeer().GetState()
	if s, ok := sessionState(state.GetSessionState()); ok {
		h.up.Store(s == Established)
		h.Reached(s, state.GetPeerAsn())
	}
}

func sessionState(s api.PeerState_SessionState) (SessionState, bool) {
	switch s {
	case api.PeerState_IDLE:
		return Idle, true
	case api.PeerState_CONNECT:
		return Connect, true
	case api.PeerState_ACTIVE:
		return Active, true
	case api.PeerState_OPENSENT:
		return OpenSent, true
	case api.PeerState_OPENCONFIRM:
		return OpenConfirm, true
	case api.PeerState_ESTABLISHED:
		return Established, true
	}
	return "", false
}
