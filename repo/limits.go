package repo

// Limits of the protocol on commits and records.
const (
	MaxOps        = 200       // operations of one commit
	MaxEventCAR   = 2_000_000 // bytes of the CAR slice in a #commit event
	MaxRecord     = 1_000_000 // bytes of a record in CBOR
	MaxRecordJSON = 2_097_152 // bytes of a record in JSON
)

// Limits of the data model.
const (
	MaxDepth     = 32                // arrays and objects inside each other
	MaxContainer = 131_072           // elements of an array or object
	MaxObjectKey = 8192              // bytes of an object's key
	MaxSafeInt   = 9007199254740991  // 2^53-1
	MinSafeInt   = -9007199254740991 // -(2^53-1)
)

// Limits says how much CBOR from outside may ask for.
type Limits struct {
	Bytes     int // of the whole
	Depth     int // arrays and maps inside each other
	Container int // elements of one array or map
	Key       int // bytes of a map key
}

// RecordLimits are the limits for a record.
func RecordLimits() Limits {
	return Limits{Bytes: MaxRecord, Depth: MaxDepth, Container: MaxContainer, Key: MaxObjectKey}
}
