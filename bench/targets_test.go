package bench

import "github.com/pacs-extension/maskstore"

// targets are what the library is to reach.
var targets = []target{
	{row: rowSign, unit: nsPerURL, against: "minio-go", limit: 1.0 / 10},
	{row: rowSign, unit: nsPerURL, against: "aws-sdk", limit: 1.0 / 25},
	{row: rowSign, unit: nsPerURL, limit: 4000},
	{row: rowSign, unit: allocsPerURL, limit: 10},

	{row: rowGroup, unit: requestCount, limit: 5},
	{row: rowGroup, unit: cpuPerMask, against: "aws-sdk", limit: 1.0 / 10},
	{row: rowResave, unit: requestCount, limit: 6},

	{row: rowPut, unit: cpuPerMask, against: "minio-go", limit: 0.7},
	{row: rowPutDelayed, unit: seconds, limit: 1.3 * delayedRounds * delay.Seconds()},
	{row: rowPutMinIO, unit: masksPerSecond, against: best, limit: 1, atLeast: true},
	{row: rowPutMinIO + inMemory, unit: masksPerSecond, against: best, limit: 1, atLeast: true},
	{row: rowPutGroup, unit: cpuPerMask, against: "minio-go", limit: 0.7},
	{row: rowPutGroupMinIO + inMemory, unit: masksPerSecond, against: best, limit: 1, atLeast: true},

	{row: rowBatch, unit: masksPerSecond, against: best, limit: 1.8, atLeast: true},
	{row: rowBatch, unit: cpuPerMask, against: best, limit: 0.25},
	{row: rowBatch + inMemory, unit: masksPerSecond, against: best, limit: 1.8, atLeast: true},
	{row: rowBatch + inMemory, unit: cpuPerMask, against: best, limit: 0.25},

	{row: rowUploadFile, unit: seconds, against: best, limit: 1.05},
	{row: rowUploadFile, unit: seconds, against: verifying, limit: 1.05},
	{row: rowUploadFile, unit: heapMiB, limit: 64},
	{row: rowUploadStream, unit: seconds, against: best, limit: 1.05},
	{row: rowUploadStream, unit: seconds, against: verifying, limit: 1.05},
	{row: rowUploadStream, unit: heapMiB, limit: partConcurrency*partSize>>20 + 32},
	{row: rowDownload, unit: seconds, against: best, limit: 1.05},
	{row: rowDownload, unit: seconds, against: verifying, limit: 1.05},
	{row: rowDownload, unit: heapMiB, limit: 64},

	{row: rowGet, unit: cpuPerMask, against: "aws-sdk", limit: 0.8},

	{row: rowMemoryList, unit: nsPerObject, against: library + alone, limit: 3},
}

// delayedRounds is how often the concurrency must be used up to send all masks.
const delayedRounds = (putMasks + maskstore.DefaultConcurrency - 1) / maskstore.DefaultConcurrency
