package pds

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// movedSettings are those that say where the reference keeps its data. They have no place in Perch's settings.
var movedSettings = []string{
	"PDS_DATA_DIRECTORY", "PDS_ACCOUNT_DB_LOCATION", "PDS_SEQUENCER_DB_LOCATION", "PDS_DID_CACHE_DB_LOCATION", "PDS_ACTOR_STORE_DIRECTORY",
	"PDS_BLOBSTORE_DISK_LOCATION", "PDS_BLOBSTORE_DISK_TMP_LOCATION",
}

// keptSecrets must be the same after the change: they sign tokens that people hold, and open their DIDs.
var keptSecrets = []string{jwtVariable, plcKeyVariable}

// identitySettings say who the server is. With others it would be another server.
var identitySettings = []string{"PDS_HOSTNAME", "PDS_SERVICE_DID"}

// containerPort is the port that the reference's container image sets, and for which its installer sets up the proxy in front.
const containerPort = "3000"

// adoptedEnv are the reference's settings, and the file of ours made of them.
type adoptedEnv struct {
	values map[string]string // the reference's
	path   string            // of our file
	text   string            // what goes into it
	exists bool              // it is there already, and stays
}

// settings reads the reference's settings and makes ours: those of the file in our folder, if there is one already, else the reference's without its places.
func (a *adoption) settings() error {
	same, err := sameFolder(a.opt.Dir, a.opt.Into)
	if err != nil {
		return err
	}
	if same {
		return fmt.Errorf("%s holds the data of the reference PDS, which stay as they are: name another folder for Perch's", a.opt.Into)
	}
	into, err := filepath.Abs(a.opt.Into)
	if err != nil {
		return err
	}
	a.report.Into = into
	theirs := given(a.opt.EnvFile, func() string { return filepath.Join(a.opt.Dir, envFileName) })
	text, err := os.ReadFile(theirs)
	if err != nil {
		return fmt.Errorf("the settings of the reference PDS, with the secrets by which people stay signed in: %w; name the file with --env-file", err)
	}
	a.env = &adoptedEnv{values: map[string]string{}, path: filepath.Join(into, envFileName)}
	lines, problems := parseEnvFile(theirs, string(text))
	for _, l := range lines {
		a.env.values[l.name] = l.value
	}
	if len(problems) > 0 {
		return &ConfigError{problems}
	}
	for _, name := range keptSecrets {
		if a.env.values[name] == "" && a.env.values["PDS_PLC_ROTATION_KEY_KMS_KEY_ID"] == "" {
			return &ConfigError{[]string{fmt.Sprintf("%s: it is missing in %s, but the reference PDS cannot run without; name the right file with --env-file", name, theirs)}}
		}
	}
	a.env.text = a.rewrite(string(text), lines, into)
	return a.load()
}

// rewrite makes our settings out of the reference's: line by line the same, but without its places.
func (a *adoption) rewrite(text string, lines []envLine, into string) string {
	drop := map[int]bool{}
	for _, l := range lines {
		moved := strings.HasPrefix(l.name, s3Settings)
		for _, name := range movedSettings {
			moved = moved || l.name == name
		}
		drop[l.line-1] = moved
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# The settings of the reference PDS in %s, taken over by perch adopt.\nPDS_DATA_DIRECTORY=%s\n", a.opt.Dir, quoteEnv(into))
	if a.env.values["PDS_PORT"] == "" && a.fromContainer() {
		fmt.Fprintf(&b, "# The port that its container had, for the proxy in front.\nPDS_PORT=%s\n", containerPort)
		a.report.Notes = append(a.report.Notes, "PDS_PORT="+containerPort+" was added, as in the container, because the proxy in front expects the server there")
	}
	b.WriteString("\n")
	for i, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		if drop[i] && strings.Contains(line, s3Secret) {
			continue
		}
		if drop[i] {
			b.WriteString("# before: ")
		}
		b.WriteString(line + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// fromContainer tells whether the directory was set up by the reference's installer.
func (a *adoption) fromContainer() bool {
	for _, name := range []string{"compose.yaml", "caddy"} {
		if _, err := os.Stat(filepath.Join(a.opt.Dir, name)); err == nil {
			return true
		}
	}
	return false
}

func quoteEnv(s string) string {
	if strings.ContainsAny(s, " #'\"\\$`") {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(s) + `"`
	}
	return s
}

// load makes the Config that Perch will run with, and compares it with the reference's settings.
func (a *adoption) load() error {
	text, err := os.ReadFile(a.env.path)
	switch {
	case err == nil:
		a.env.exists, a.env.text = true, string(text)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	lines, problems := parseEnvFile(a.env.path, a.env.text)
	if len(problems) > 0 {
		return &ConfigError{problems}
	}
	environ := masterKeySettings(a.opt.Environ)
	values := map[string]string{}
	for _, l := range lines {
		values[l.name] = l.value
		environ = append(environ, l.name+"="+l.value)
	}
	if err := a.compare(values); err != nil {
		return err
	}
	// An empty file, lest LoadConfig looks for one; the data folder is ours whatever the file says.
	environ = append(environ, "PDS_DATA_DIRECTORY="+a.report.Into)
	if a.cfg, err = LoadConfig(environ, os.DevNull); err != nil {
		return err
	}
	a.report.Notes = append(a.report.Notes, a.cfg.Warnings...)
	return nil
}

// compare sees that settings that were there before are those of the same server.
func (a *adoption) compare(values map[string]string) error {
	for _, name := range identitySettings {
		if values[name] != a.env.values[name] {
			return fmt.Errorf("%s: %s is %q, the reference PDS's is %q; with another name it would be another server", a.env.path, name, values[name], a.env.values[name])
		}
	}
	for _, name := range keptSecrets {
		if values[name] != a.env.values[name] {
			return fmt.Errorf("%s: %s is not the reference PDS's; write the same, or people are signed out and DIDs cannot be changed", a.env.path, name)
		}
	}
	return nil
}

// masterKeySettings picks those of our own settings that may be in the environment alone.
func masterKeySettings(environ []string) (kept []string) {
	for _, kv := range environ {
		if strings.HasPrefix(kv, "PDS_MASTER_KEY_") {
			kept = append(kept, kv)
		}
	}
	return kept
}

// write puts the settings in place, unless there are some. They come last, so that a server whose take-over was interrupted does not start with half of the accounts.
func (e *adoptedEnv) write() error {
	if e.exists {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(e.path), ".pds.env-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(e.text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", e.path, err)
	}
	return os.Rename(f.Name(), e.path)
}

func sameFolder(a, b string) (bool, error) {
	one, err := os.Stat(a)
	if err != nil {
		return false, fmt.Errorf("the reference PDS's data directory: %w", err)
	}
	two, err := os.Stat(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(one, two), err
}
