package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/urfave/cli/v3"

	"perch/pds"
)

func (p *program) importAccountCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "make an account of a file of `perch account export`, or of a repository (CAR)",
		ArgsUsage: "FILE",
		Description: "Makes an account with the DID, the repository, the blobs and the preferences of FILE, on the running server. All of it is verified first; when\n" +
			"anything is wrong, nothing is made. The DID is looked at when everything is stored:\n\n" +
			"- If it names this server already and this server's key may change it, as when an account of this server was lost or deleted, the account is active.\n" +
			"- With --rotation-key-file it is moved here, also when its old server is gone. The key, 64 hexadecimal digits or multibase, stays on this machine.\n" +
			"- Else the account waits, deactivated, and the command says what its owner can do.\n\n" +
			"An interrupted command can be given again and comes to the same end. FILE may also be a bare CAR of the repository, with --handle and --email.",
		Flags: []cli.Flag{
			serverFlag,
			&cli.StringFlag{Name: "did", Usage: "refuse a file of any other `DID`"},
			&cli.StringFlag{Name: "handle", Usage: "the `HANDLE` that the account will have (default: the one that it had)"},
			&cli.StringFlag{Name: "email", Usage: "its e-mail `ADDRESS` (default: the one that it had)"},
			rotationKeyFlag("the old server"),
			&cli.StringFlag{Name: "blobs", Usage: "with a CAR: a folder (`DIR`) of pictures and videos, whatever their names"},
			&cli.StringFlag{Name: "blobs-from", Usage: "the `URL` of a server that may still have blobs which are missing"},
			&cli.StringFlag{Name: "password", Usage: "the new `PASSWORD`; without one, one is made and printed"},
			&cli.BoolFlag{Name: "password-stdin", Usage: "read the password from the first line of the input"},
		},
		Action: p.importAccount,
	}
}

// rescuer makes one account of one file.
type rescuer struct {
	p      *program
	server *client
	key    string // the owner's rotation key; "" for none
	made   bool   // the password was made here
	in     pds.RescueRequest
}

func (p *program) importAccount(ctx context.Context, c *cli.Command) error {
	file, err := os.Open(c.Args().First())
	if err != nil {
		return usagef("%w", err)
	}
	defer file.Close()
	r := &rescuer{p: p}
	r.in = pds.RescueRequest{
		DID: syntax.DID(c.String("did")), Handle: strings.TrimPrefix(c.String("handle"), "@"), Email: c.String("email"), BlobsFrom: c.String("blobs-from"),
	}
	if c.String(rotationKeyFile) == "-" && c.Bool("password-stdin") {
		return usagef("--%s - and --password-stdin: only one of them can come from the input", rotationKeyFile)
	}
	if r.key, err = rotationKey(p.prompter(), c); err != nil {
		return err
	}
	if r.key != "" {
		if r.in.Signers, err = pds.RotationKeyDIDs(r.key); err != nil {
			return usagef("--%s: %w", rotationKeyFile, err)
		}
	}
	if r.in.Password, err = p.password(c); err != nil {
		return err
	}
	if r.made = r.in.Password == ""; r.made {
		r.in.Password = newPassword()
	}
	if r.server, err = p.client(ctx, c); err != nil {
		return err
	}
	if err := r.upload(ctx, file, c.String("blobs")); err != nil {
		return err
	}
	out, err := r.begin(ctx)
	if err != nil {
		return err
	}
	r.show(out)
	return r.bringDID(ctx, out)
}

// upload sends the file to the server. A bare repository is packed into an archive on the way.
func (r *rescuer) upload(ctx context.Context, file *os.File, blobs string) error {
	var magic [2]byte
	if _, err := file.ReadAt(magic[:], 0); err != nil && err != io.EOF {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	total := info.Size()
	body := io.Reader(file)
	if r.in.Bare = string(magic[:]) != "PK"; r.in.Bare {
		out, in := io.Pipe()
		go func() { in.CloseWithError(pds.PackArchive(in, file, blobs)) }()
		defer out.Close()
		body = out
	} else if blobs != "" {
		return usagef("--blobs goes with a CAR; the blobs of an archive are in it")
	}
	show, done := r.p.byteProgress("uploading", total)
	defer done()
	req, err := r.server.request(ctx, http.MethodPost, pds.RescueUploadPath, &watched{body, show})
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/zip")
	req.Header.Set("Expect", "100-continue") // a refusal comes before all is sent
	var out pds.RescueUpload
	err = r.server.answer(req, func(res *http.Response) error { return json.NewDecoder(res.Body).Decode(&out) })
	r.in.File = out.File
	return err
}

// begin has the account made, and shows how far that is.
func (r *rescuer) begin(ctx context.Context) (*pds.Rescued, error) {
	body, err := json.Marshal(r.in)
	if err != nil {
		return nil, err
	}
	req, err := r.server.request(ctx, http.MethodPost, pds.RescuePath, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	var last pds.RescueLine
	show, done := r.p.progress()
	err = r.server.answer(req, func(res *http.Response) error {
		for lines := json.NewDecoder(res.Body); ; {
			last = pds.RescueLine{}
			if err := lines.Decode(&last); err != nil {
				return fmt.Errorf("the server went away; give the command again to go on: %w", err)
			}
			switch {
			case last.Error != "" || last.Result != nil:
				return nil
			case show != nil:
				show(last.Done, last.Total, last.What)
			}
		}
	})
	done()
	if err == nil && last.Error != "" {
		err = &serverError{Status: http.StatusBadRequest, Name: last.Error, Message: last.Message}
	}
	return last.Result, err
}

func (r *rescuer) show(out *pds.Rescued) {
	w := r.p.stdout
	fmt.Fprintf(w, "handle    %s\ndid       %s\nemail     %s\nrecords   %d\nblobs     %d (%s)\n",
		out.Handle, out.DID, out.Email, out.Records, out.Blobs, size(out.BlobBytes))
	for i, c := range out.Missing {
		if i == maxFindings {
			break
		}
		fmt.Fprintf(w, "missing   blob %s\n", c)
	}
	if n := out.MissingCount - maxFindings; n > 0 {
		fmt.Fprintf(w, "missing   and %d more blobs\n", n)
	}
	switch {
	case out.PasswordKept:
		fmt.Fprintf(w, "password  that of the first time; `perch account password %s` makes another\n", out.Handle)
	case r.made:
		fmt.Fprintf(w, "password  %s\n", r.in.Password)
	}
}

// bringDID moves the DID here with the owner's key, if that is needed and there is one, and says how to go on if not.
func (r *rescuer) bringDID(ctx context.Context, out *pds.Rescued) error {
	did := out.RescuedDID
	if did.Needs == pds.RescueNeedsOperation && r.key != "" {
		var err error
		if did, err = r.sign(ctx, out.DID); err != nil {
			return fmt.Errorf("all is stored, but the DID has not moved; give the command again to try that once more: %w", err)
		}
	}
	fmt.Fprintf(r.p.stdout, "\n%s\n", next(out, did))
	return nil
}

func (r *rescuer) sign(ctx context.Context, did syntax.DID) (pds.RescuedDID, error) {
	var proposed, moved pds.RescueDIDAnswer
	err := r.server.postTo(ctx, pds.RescueDIDPath, pds.RescueDIDRequest{DID: did, Signers: r.in.Signers}, &proposed)
	if err != nil {
		return pds.RescuedDID{}, err
	}
	signed, err := pds.SignOperation(proposed.Operation, proposed.Signer, r.key)
	if err != nil {
		return pds.RescuedDID{}, err
	}
	err = r.server.postTo(ctx, pds.RescueDIDPath, pds.RescueDIDRequest{DID: did, Operation: signed}, &moved)
	return moved.RescuedDID, err
}

// next says how the account stands, and what is to be done.
func next(out *pds.Rescued, did pds.RescuedDID) string {
	switch did.Needs {
	case pds.RescueNeedsNothing:
		if out.Before == "takendown" || out.Before == "suspended" {
			return fmt.Sprintf("The account is here, and %s as it was before. `perch account restore %s` ends that.", out.Before, out.DID)
		}
		return "The account is here and active."
	case pds.RescueNeedsActivate:
		return fmt.Sprintf("The account is here, and deactivated. Its owner can sign in and activate it, or `perch account activate %s` does.", out.DID)
	case pds.RescueNeedsDocument:
		return fmt.Sprintf("The account waits, deactivated, until its DID document names this server and this key for repositories (#atproto):\n  %s\n"+
			"Once that is published: `perch account activate %s`.", did.SigningKey, out.DID)
	}
	return fmt.Sprintf("The account waits, deactivated, because its DID names %s.\n"+
		"- Who has a rotation key of the DID: give this command again with --rotation-key-file. It has these:\n  %s\n"+
		"- If the old server still runs: delete the account here and use `perch migrate in`. Or its owner signs in at both servers, with an app for moving:\n"+
		"  requestPlcOperationSignature there, which mails a code; signPlcOperation there, with the code and what getRecommendedDidCredentials\n"+
		"  says here; submitPlcOperation here. Then `perch account activate %s`.", did.Host, strings.Join(did.Keys, "\n  "), out.DID)
}
