package pds

import (
	"fmt"
	"strings"
)

// What the audit log says of each input that an administrator's action has. Passwords, codes, keys and the text of mails are not in it.

func (in *updateSubjectStatusInput) deed() deed {
	d := deed{subject: string(in.Subject.DID), detail: in.Subject.CID}
	if in.Subject.URI != "" {
		d.detail = in.Subject.URI
		if did, _, ok := strings.Cut(strings.TrimPrefix(in.Subject.URI, "at://"), "/"); ok {
			d.subject = did
		}
	}
	down, off := in.Takedown, in.Deactivated
	switch {
	case down != nil && !down.Applied:
		d.action = "restore"
	case down != nil && in.Subject.Type == subjectRepo && isSuspension(down.Ref):
		d.action, d.reason = "suspend", down.Ref
	case down != nil:
		d.action, d.reason = "takedown", down.Ref
	case off != nil && off.Applied:
		d.action = "deactivate"
	case off != nil:
		d.action = "activate"
	default:
		d.action = "announce"
	}
	if down != nil && off != nil { // both at once
		d.steps = true
		d.action += map[bool]string{true: "-deactivate", false: "-activate"}[off.Applied]
	}
	return d
}

func (in *disableInviteCodesInput) deed() deed {
	return deed{action: "invites-disable", detail: strings.Join(append(append([]string{}, in.Codes...), in.Accounts...), " ")}
}

func (in *accountInvitesInput) enable() deed {
	return deed{action: "invites-allow", subject: string(in.Account), reason: in.Note}
}

func (in *accountInvitesInput) deed() deed {
	return deed{action: "invites-forbid", subject: string(in.Account), reason: in.Note}
}

func (in *createInviteCodeInput) deed() deed {
	return deed{action: "invites-create", subject: accountOrNone(in.ForAccount), detail: fmt.Sprintf("1 × %d", in.UseCount)}
}

func (in *createInviteCodesInput) deed() deed {
	d := deed{action: "invites-create", detail: fmt.Sprintf("%d × %d", in.CodeCount, in.UseCount)}
	switch len(in.ForAccounts) {
	case 0:
	case 1:
		d.subject = accountOrNone(in.ForAccounts[0])
	default:
		d.detail += " " + strings.Join(in.ForAccounts, " ")
	}
	return d
}

// accountOrNone is "" for the codes that belong to no account.
func accountOrNone(owner string) string {
	if !strings.HasPrefix(owner, "did:") {
		return ""
	}
	return owner
}

func (in *sendEmailInput) deed() deed {
	return deed{action: "mail", subject: string(in.RecipientDID), detail: in.Subject, reason: in.Comment}
}

func (in *updateAccountEmailInput) deed() deed {
	return deed{action: "email", subject: in.Account.String(), detail: in.Email}
}

func (in *updateAccountHandleInput) deed() deed {
	return deed{action: "handle", subject: string(in.DID), detail: in.Handle, steps: true}
}

func (in *updateAccountPasswordInput) deed() deed {
	return deed{action: "password", subject: string(in.DID)}
}

func (in *updateAccountSigningKeyInput) deed() deed {
	return deed{action: "signing-key", subject: string(in.DID), detail: publicKey(in.SigningKey), steps: true}
}

func (in *didInput) deed() deed { return deed{action: "delete", subject: string(in.DID)} }

// The operator pages of the command line.

func (in *CodeRequest) deed() deed {
	return deed{action: "code", subject: in.Account, detail: in.Purpose}
}

func (in *FactorRequest) deed() deed {
	if in.Action == FactorShow {
		return deed{}
	}
	return deed{action: "factor-" + word(in.Action), subject: in.Account}
}

func (in *RoleRequest) deed() deed {
	if in.Role == nil {
		return deed{}
	}
	return deed{action: "role", subject: in.Account, detail: map[bool]string{true: "on", false: "off"}[*in.Role]}
}

func (in *MigrateRequest) deed() deed {
	switch in.Action {
	case MigrateShow, MigrateList, MigratePlan:
		return deed{}
	}
	return deed{action: "migrate-" + word(in.Action), subject: in.Account, detail: in.To, steps: true}
}

func (in *RescueRequest) deed() deed {
	return deed{action: "import", detail: in.Handle, steps: true, late: true}
}

func (in *RescueDIDRequest) deed() deed {
	return deed{action: "import-did", subject: string(in.DID), steps: true}
}

func (in *RotationKeyRequest) deed() deed {
	if in.Action == RotationKeyList {
		return deed{}
	}
	return deed{action: "rotation-key-" + word(in.Action), subject: in.Account, detail: publicKey(in.Key), steps: true}
}

func (in *AlertsRequest) deed() deed {
	if !in.Dismiss {
		return deed{}
	}
	return deed{action: "plc-dismiss", subject: in.Account}
}

func (in *UndoRequest) deed() deed {
	if in.DryRun {
		return deed{}
	}
	return deed{action: "plc-undo", subject: in.Account, detail: in.Operation, steps: true}
}

func (in *DIDWebRequest) deed() deed {
	if in.Action == DIDWebShow {
		return deed{}
	}
	d := deed{action: "did-web-" + word(in.Action), subject: in.Account, detail: in.PDS, steps: true}
	if in.Action == DIDWebCreate {
		d.subject = "did:web:" + strings.ToLower(in.Account)
	}
	return d
}

// publicKey leaves out what may be a private key that somebody has taken for the public one.
func publicKey(s string) string {
	if !strings.HasPrefix(s, "did:key:") {
		return ""
	}
	return s
}

// word keeps what somebody sends as the name of an action short.
func word(action string) string {
	const longest = 20
	return action[:min(len(action), longest)]
}
