package maskstore

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// inherited are the modules that a program gets that imports this package. A new one needs a reason.
var inherited = []string{
	"github.com/BurntSushi/toml",
	"github.com/aws/aws-sdk-go-v2",
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream",
	"github.com/aws/aws-sdk-go-v2/config",
	"github.com/aws/aws-sdk-go-v2/credentials",
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds",
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager",
	"github.com/aws/aws-sdk-go-v2/internal/configsources",
	"github.com/aws/aws-sdk-go-v2/internal/endpoints/v2",
	"github.com/aws/aws-sdk-go-v2/internal/v4a",
	"github.com/aws/aws-sdk-go-v2/service/internal/accept-encoding",
	"github.com/aws/aws-sdk-go-v2/service/internal/checksum",
	"github.com/aws/aws-sdk-go-v2/service/internal/presigned-url",
	"github.com/aws/aws-sdk-go-v2/service/internal/s3shared",
	"github.com/aws/aws-sdk-go-v2/service/s3",
	"github.com/aws/aws-sdk-go-v2/service/signin",
	"github.com/aws/aws-sdk-go-v2/service/sso",
	"github.com/aws/aws-sdk-go-v2/service/ssooidc",
	"github.com/aws/aws-sdk-go-v2/service/sts",
	"github.com/aws/smithy-go",
	"github.com/pacs-extension/maskstore",
	"golang.org/x/sync",
	"golang.org/x/text",
}

func TestInheritedModules(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(string(out))
	slices.Sort(got)
	if diff := cmp.Diff(inherited, slices.Compact(got)); diff != "" {
		t.Error(diff)
	}
}

// What the tests of the nested modules need stays out of the file that every importer's build reads.
func TestHeavyModulesStayOut(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{
		"testcontainers", "docker", "moby", "containerd", "chromedp", "go-rod", "playwright", "selenium", "minio",
	} {
		for line := range strings.Lines(string(mod)) {
			if module, _, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "require "), " "); ok &&
				strings.Contains(module, word) {
				t.Errorf("go.mod requires %s", module)
			}
		}
	}
}
