// Package setup opens the storage that an example's user has configured.
package setup

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/pacs-extension/maskstore"
)

// Main runs an example until it ends or is interrupted.
func Main(run func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Flag defines the flag that names the configuration file.
func Flag() *string {
	return flag.String("config", "", "a TOML file as config/default.toml; the environment's APP_OBJECT_STORAGE__… wins over it")
}

// Config reads the file, if one is named, and the environment.
func Config(path string) (cfg maskstore.Config, err error) {
	if path != "" {
		if cfg, err = maskstore.LoadConfig(path); err != nil {
			return cfg, err
		}
	}
	return maskstore.ConfigFromEnv(cfg)
}

// Storage opens what the file, if one is named, and the environment configure.
func Storage(ctx context.Context, path string) (maskstore.ObjectStorage, error) {
	cfg, err := Config(path)
	if err != nil {
		return nil, err
	}
	return maskstore.Open(ctx, cfg)
}
