package ipam

// Reasons returns all reasons.
func Reasons() []Reason {
	return []Reason{NoPool, PoolNotFound, PoolNotAllowed, PoolExhausted, AddressOutsidePools,
		AddressInUse, SharingRefused, FamilyUnavailable, RequestConflict, InvalidRequest}
}

// Older orders requests by the age of their Services, then by name: the order
// in which Assign serves them.
func Older(r, s *Request) int { return older(r, s) }
