package maskstore

import "strings"

// listPage is how many entries S3 lists in an answer:
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html.
const listPage = 1000

// firstKey gives the least key that can come after StartAfter, or "". Where StartAfter lies under a common prefix, that
// is not after it.
func (o *ListOptions) firstKey(prefix string) string {
	if o.StartAfter == "" {
		return ""
	}
	if dir, ok := commonPrefix(o.StartAfter, prefix, o.Delimiter); ok {
		return afterAll(dir)
	}
	return o.StartAfter + "\x00"
}

// commonPrefix gives the common prefix that a listing of prefix rolls key up to, if any.
func commonPrefix(key, prefix, delimiter string) (dir string, ok bool) {
	rest, ok := strings.CutPrefix(key, prefix)
	i := strings.IndexByte(rest, '/')
	if !ok || i < 0 || delimiter == "" {
		return "", false
	}
	return key[:len(prefix)+i+1], true
}

// afterAll gives the least string that comes after all that begin with prefix. No byte of UTF-8 is too great to be raised.
func afterAll(prefix string) string {
	last := len(prefix) - 1
	return prefix[:last] + string([]byte{prefix[last] + 1})
}
