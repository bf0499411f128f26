// Minio prints the path of the MinIO server's binary that the tests use, having built it where it is not there yet.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/pacs-extension/maskstore/integration/miniotest"
)

func main() {
	binary, err := miniotest.Binary(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(binary)
}
