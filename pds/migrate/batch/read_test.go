package batch

import (
	"strings"
	"testing"
)

func TestReadAsPeopleWriteIt(t *testing.T) {
	for name, text := range map[string]string{
		"plain":        "handle,password,email,code\nalice.example.com,\"a \"\"b\"\", c \",a@example.com,\nbob.example.com,pw,,ABCDE-FGHIJ\n",
		"excel":        "\xef\xbb\xbfHandle;Password;Email;Code\r\nalice.example.com;\"a \"\"b\"\", c \";a@example.com;\r\nbob.example.com;pw;;ABCDE-FGHIJ\r\n;;;\r\n",
		"tabs":         "handle\tpassword\temail\tcode\nAlice.Example.com\t\"a \"\"b\"\", c \"\ta@example.com\t\nbob.example.com\tpw\t\tABCDE-FGHIJ",
		"other order":  "code,e-mail,password,handle\n",
		"at and space": "account , password, email,code\n@alice.example.com ,\"a \"\"b\"\", c \", a@example.com ,\n\n bob.example.com,pw,, ABCDE-FGHIJ \n",
	} {
		rows, err := Read(strings.NewReader(text))
		if name == "other order" {
			if err == nil || !strings.Contains(err.Error(), `no column is called "e-mail"`) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || len(rows) != 2 {
			t.Errorf("%s: %+v, %v", name, rows, err)
			continue
		}
		a, b := rows[0], rows[1]
		if a.Account != "alice.example.com" || a.Password != `a "b", c ` || a.Email != "a@example.com" || a.Code != "" || a.Line != 2 {
			t.Errorf("%s: %+v", name, a)
		}
		if b.Account != "bob.example.com" || b.Password != "pw" || b.Code != "ABCDE-FGHIJ" {
			t.Errorf("%s: %+v", name, b)
		}
	}
	rows, err := Read(strings.NewReader("handle,did,New Handle\nalice.example.com,did:plc:aaaaaaaaaaaaaaaaaaaaaaaa,Al.example.net\nbob.example.com,,\n"))
	if err != nil || rows[0].Account != "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa" || rows[0].NewHandle != "al.example.net" || rows[1].Account != "bob.example.com" {
		t.Errorf("%+v, %v", rows, err)
	}
}

func TestReadTellsAllMistakes(t *testing.T) {
	text := "account,password,new-password,email,new-handle\n" +
		"alice.example.com,pw,,,\n" +
		"not a handle,top-secret-1,,,\n" +
		"ALICE.example.com,pw,,,\n" +
		"carol.example.com,pw\n" +
		"dave.example.com,top\"secret-2,,,\n" +
		"erin.example.com,pw,short,,\n" +
		"frank.example.com,pw,,nonsense,\n" +
		"gina.example.com,pw,,,x\n" +
		"hugo.example.com,pw,,,same.example.com\n" +
		"ines.example.com,pw,,,SAME.example.com\n" +
		",pw,,,\n" +
		"jack.example.com," + strings.Repeat("x", maxCell+1) + ",,,\n" +
		"kate.example.com,\"never closed,,,\n"
	rows, err := Read(strings.NewReader(text))
	if err == nil {
		t.Fatalf("taken: %+v", rows)
	}
	for _, want := range []string{
		`line 3: "not a handle" is neither`, "line 4: alice.example.com stands on line 2 already", "line 5: 2 cells, but there are 5 columns",
		"line 6: ", "line 7: new-password", `line 8: email: "nonsense"`, `line 9: new-handle: "x"`, "line 11: new-handle: same.example.com stands on line 10",
		"line 12: no account", "line 13: password: longer", "line 14: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "top") || strings.Contains(err.Error(), "short,") {
		t.Errorf("a password is repeated:\n%v", err)
	}
	for text, want := range map[string]string{
		"": "empty", "\n\n": "empty", "account\n": "names no account", "password\npw\n": "no column names the account",
		"account,account\n": "two columns", "\xff\xfea\x00": "UTF-8", "account\n\xe4\n": "UTF-8",
		"account\n" + strings.Repeat("!\n", maxFaults+5): "and 5 mistakes more",
	} {
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", text, err, want)
		}
	}
}

func TestResultsAreNoFormulas(t *testing.T) {
	var out strings.Builder
	err := Write(&out, []Result{{DID: "did:plc:a", Handle: "a.example.com", State: "code", Records: 3, Blobs: 2, Waits: "code", Error: `=cmd|"x"`}})
	if err != nil || out.String() != "did,handle,state,records,blobs,waits-for,error\ndid:plc:a,a.example.com,code,3,2,code,\"'=cmd|\"\"x\"\"\"\n" {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func FuzzRead(f *testing.F) {
	f.Add("account,password\na.example.com,\"x\"\n")
	f.Add("\xef\xbb\xbfdid;code\r\ndid:plc:aaaaaaaaaaaaaaaaaaaaaaaa;\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := Read(strings.NewReader(text))
		if err == nil && len(rows) == 0 {
			t.Error("an empty list was taken")
		}
		for _, r := range rows {
			if err == nil && (r.Account == "" || r.Line < 2) {
				t.Errorf("%+v", r)
			}
		}
	})
}
