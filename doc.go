// Package maskstore manages the segmentation masks of medical images in object storage: S3, MinIO, or memory.
//
// A server that uses it hands viewers signed URLs, so that mask files go straight between viewer and bucket, and never
// through the server:
//
//	g, err := maskstore.NewGroup(storage, "annotation-7", "", nil)
//	up, err := g.Begin(ctx, masks, nil)           // a signed URL per mask
//	…                                             // the viewer puts each mask to its URL
//	done, err := g.Complete(ctx, up.UploadID, etags, nil) // verified, and committed
//
// [NewHandler] is that server's HTTP interface, [DirectUploader] a viewer's side of it in Go. [Group] holds the rules by
// which a group is saved and read; [ObjectStorage] is what it needs of a storage, which [S3], [MinIO] and [Memory] are.
// [Open] makes the one that a configuration names.
//
// # Keys
//
// The library writes these keys of one bucket, and what else below mask/ a program gives to a storage's own methods:
//
//	mask/<annotation>/<group>/NNNN_label.png    a mask: [MaskKey]; NNNN is the slice number
//	mask/<annotation>/<group>/metadata.json     the group's [Manifest]
//	mask/_batch/<random>.tar                    a batch that the server did not unpack; deleted at once, or by [Sweep]
//
// What else belongs to an annotation, such as a large object, has its place at mask/<annotation>/_large/: no group's ID
// begins with _, so that Groups and Sweep pass over it. Under another name it would look like a group without a manifest.
// mask/_…/ is the library's.
//
// IDs and labels that do not fit are refused, never cleaned: see [ValidID] and [ValidLabel]. Labels may be in any
// script; [NormalizeLabel] makes one from what a person typed. Every method of every storage refuses keys outside
// mask/, and all others that [ValidKey] does, before it sends anything.
//
// # Errors
//
// All errors are an [*Error], whose kind is one of the package's sentinels: errors.Is(err, maskstore.ErrNotFound). The
// error of the service, where there is one, is within reach of errors.As. Bad input is an [*InputError] that names the
// field, and what would be right. Where a call does many things, [KeyErrors] gives those that failed, by their keys.
// Errors of a context stay what they are. No error, log or String holds a credential or a signature.
//
// # Concurrency
//
// Storages and groups are safe for concurrent use, by many processes as well: no state is kept between two calls but what
// lies in the bucket. No goroutine outlives the call that began it.
//
// # Consistency
//
// Put is all or nothing. A manifest, and each mask of a group, is only ever written by a compare-and-swap: IfMatch where
// something lies at the key, NoOverwrite where nothing does. The storage must honour these conditions, as S3 has done since
// 2024 and MinIO does. The masks that [Group.Upload] puts by a batch, into a group of its own, alone have none. What the
// content of an object is, only its SHA-256 tells; an ETag tells whether it changed.
//
// # Promises
//
// Each with the tests that hold it; SECURITY.md says what they keep out, and what is left to the operator.
//
//   - No key outside mask/, and none that a server could read otherwise, is ever sent: TestBadInput, TestValidKey,
//     FuzzValidKey.
//   - Bad input is an InputError before any request: TestBadInput, TestOptionsAreChecked, TestS3MultipartInput.
//   - Put stores all or nothing: TestS3Put, TestS3PutFails, TestMemoryPutIsAllOrNothing, TestMinIO.
//   - A body is what its size and SHA-256 say, when it is sent and when it is read: TestVerifier, TestS3GetBodies,
//     TestDirectUploadOfAWrongBody.
//   - What is written to a group is a compare-and-swap: TestMemoryGroups, TestMinIO, TestMemoryRacingWriters,
//     TestMemoryReplay.
//   - A batch, which is none, ends before others may begin, with clocks up to 15 minutes ahead; one that was superseded
//     meanwhile is never read as another's: TestBatchEndsWithItsLease, TestLateBatch, TestOrders.
//   - In whatever order a group's events come, and whatever answers are lost, nothing undeclared is committed, no reader
//     gets a mix, and nothing is stuck: TestOrders, TestOrdersAtRandom.
//   - An upload in parts that fails is aborted, or its error names it; so is one that was begun and the answer lost:
//     TestS3UploadBegunTooLate, TestS3PutSaysWhatStays, TestS3CreateAnswerLost.
//   - One with a journal goes on where its process was killed: TestUploadKilled, TestUploadGoesOn, TestFaultsServerKilled,
//     TestFaultsClientKilled.
//   - What a client puts in parts is completed only as declared, and a completion whose answer was lost tells the same
//     again: TestPartsAreProven, TestCompletePartsAgain, TestPartsOfAnotherSize.
//   - A connection cut at any byte, a lost answer, and a success that is none lose nothing and leave no part:
//     TestFaultsReset, TestFaultsResetParts, TestFaultsLostAnswer, TestFaultsEmptySuccess.
//   - A server that is busy for seconds fails nothing; one that stalls or is full gives a typed error in time: TestStalls,
//     TestFaultsBurst, TestFaultsSickServer, TestFaultsStalledConnection, TestFaultsDiskFull, TestFaultsNodeKilled,
//     TestFaultsTwoNodesKilled.
//   - A clock that is too far off for signatures is told, and how far: TestFaultsClock, TestFaultsClockOfAnother.
//   - A flipped bit is told, on the way there and back, wherever a SHA-256 is known, of the object or of its parts; in a
//     range where Verify asks for it: TestFaultsFlippedBit, TestS3GetFlippedBits, TestDownloadFileFails.
//   - A body that was damaged on its way is sent again, and what of a group came damaged is got once more:
//     TestS3DamagedOnTheWay, TestDirectUpload, TestGroupReadsAgain.
//   - A signature binds all that it is made for, byte by byte, and no header beside it takes its place: TestVerifyEveryByte,
//     TestAgainstSDK, FuzzVerify, TestUnsignedHeaders.
//   - What README.md says that the server's credentials need is enough, and all of it is needed: TestMinIOUnderThePolicy,
//     TestPolicyAllowsNoMore.
//   - Complete commits proven masks only, and says what is wrong with the others, decoding nothing: TestMemoryGroups,
//     TestCompleteJudgesPNGs.
//   - A metadata.json that someone else wrote costs bounded memory, and reaches nothing outside its group:
//     TestHostileManifest, TestHugeManifest, FuzzDecodeDocument.
//   - No error, log or printed value shows a credential or a signature: TestCanaryInNoType, TestCanaryInNoStorage,
//     TestCanaryInNoError, TestCanaryInNoLog.
//   - The handler authorizes before it reads, answers whatever it is sent, in bounded memory: TestHandlerErrors,
//     TestHandlerBoundsMemory, TestHandlerThousandAtOnce, TestHandlerEndlessBodies, TestHandlerSlowClients, FuzzHandler.
//   - No goroutine outlives its call: TestMain, in each package with goroutines.
//   - A call comes back within 5 seconds of the end of its context, whatever the server does, and though a Body's Read
//     blocks until it is closed: TestS3BackInTime, TestBodyThatBlocks.
//   - A bit that is flipped in an answer to what changes objects or groups makes no false success, and loses nothing:
//     TestFaultsFlippedAnswer, TestFaultsFlippedGroupAnswer. A mask that a listing names wrong is not left by Delete, left out by
//     Adopt, or called lost by Sweep: TestDeleteMisreadsAListing, TestAdoptMisreadsAListing, TestSweepMisreadsAListing. But Renew
//     may sign anew what is there, and Sweep leave a group to its next run; TLS alone guards that.
//   - Errors of a context stay what they are: TestContextErrorsStayWhatTheyAre, TestS3ContextEnds, TestMemoryContext.
//   - Importers get no dependency that they do not use: TestHeavyModulesStayOut.
package maskstore
