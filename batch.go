package maskstore

import "context"

// BatchPutter is the capability to store many small objects with few requests.
type BatchPutter interface {
	// PutBatch stores the items and gives them in their order. It returns when each was found to lie there as given; those
	// that failed have the zero ObjectInfo, and KeyErrors gives their errors, of all of them with KeepGoing. Conditions and
	// two items of one key are refused. Unlike Put, an item that fails may have replaced what lay at its key.
	PutBatch(ctx context.Context, items []UploadItem, opts *ParallelOptions) ([]ObjectInfo, error)
}
