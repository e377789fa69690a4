package ipam

// Reasons returns all reasons.
func Reasons() []Reason {
	return []Reason{NoPool, PoolNotFound, PoolNotAllowed, PoolExhausted, AddressOutsidePools,
		AddressInUse, SharingRefused, FamilyUnavailable, RequestConflict, InvalidRequest}
}
