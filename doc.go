// Package maskstore manages the segmentation masks of medical images in object storage: S3, MinIO, or memory.
package maskstore
