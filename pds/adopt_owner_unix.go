//go:build unix

package pds

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// canLink tells whether files of one folder can have hard links of use in another: on the same disk and of the same user, for a link has one owner.
func canLink(from, to string) bool {
	one, err1 := os.Stat(from)
	two, err2 := os.Stat(to)
	if err1 != nil || err2 != nil {
		return false
	}
	x, ok1 := one.Sys().(*syscall.Stat_t)
	y, ok2 := two.Sys().(*syscall.Stat_t)
	return ok1 && ok2 && x.Uid == y.Uid && x.Dev == y.Dev
}

// giveTo makes everything in the folder the property of whom the folder belongs to, when root has made it for a user under which the server runs.
func giveTo(dir string) error {
	info, err := os.Stat(dir)
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if now, ok := info.Sys().(*syscall.Stat_t); ok && now.Uid == owner.Uid {
			return nil // a link to a blob of the reference's, for example, which stays as it is
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
}
