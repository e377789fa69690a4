package ipam

// Reason is the reason for which nothing is granted. Its text is part of the API.
type Reason string

// The reasons. Every Grant without addresses has one of them, except those of
// Services whose status is locked.
const (
	NoPool              Reason = "NoPool"
	PoolNotFound        Reason = "PoolNotFound"
	PoolNotAllowed      Reason = "PoolNotAllowed"
	PoolExhausted       Reason = "PoolExhausted"
	WaitingForIPAM      Reason = "WaitingForIPAM"
	IPAMAddressRefused  Reason = "IPAMAddressRefused"
	AddressOutsidePools Reason = "AddressOutsidePools"
	AddressInUse        Reason = "AddressInUse"
	AddressOccupied     Reason = "AddressOccupied"
	AddressReserved     Reason = "AddressReserved"
	QuotaExceeded       Reason = "QuotaExceeded"
	SharingRefused      Reason = "SharingRefused"
	FamilyUnavailable   Reason = "FamilyUnavailable"
	RequestConflict     Reason = "RequestConflict"
	InvalidRequest      Reason = "InvalidRequest"
)

// Reasons returns all reasons.
func Reasons() []Reason {
	return []Reason{NoPool, PoolNotFound, PoolNotAllowed, PoolExhausted, WaitingForIPAM, IPAMAddressRefused, AddressOutsidePools,
		AddressInUse, AddressOccupied, AddressReserved, QuotaExceeded, SharingRefused, FamilyUnavailable, RequestConflict, InvalidRequest}
}
