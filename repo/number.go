package repo

import "fmt"

// maxDigits bounds the digits of a number; no integer in range needs more when written plainly.
const maxDigits = 400

// number reads a JSON number, which must be an integer within ±(2^53-1). A
// fraction of zeros and an exponent are fine as long as the value is one.
func (p *jsonParser) number() (any, error) {
	neg := p.peek() == '-'
	if neg {
		p.i++
	}
	digits, err := p.digits(nil)
	if err != nil {
		return nil, err
	}
	if len(digits) > 1 && digits[0] == '0' {
		return nil, p.fault("number with a leading zero")
	}
	point := len(digits)
	if p.peek() == '.' {
		p.i++
		if digits, err = p.digits(digits); err != nil {
			return nil, err
		}
	}
	exp, err := p.exponent()
	if err != nil {
		return nil, err
	}
	v, err := integer(digits, point+exp)
	if neg {
		v = -v
	}
	return v, err
}

// digits appends at least one digit. Without digits before, it does not copy.
func (p *jsonParser) digits(before []byte) ([]byte, error) {
	start := p.i
	for p.i < len(p.b) && p.b[p.i] >= '0' && p.b[p.i] <= '9' {
		p.i++
	}
	switch {
	case p.i == start:
		return nil, p.fault("number without digits")
	case p.i-start > maxDigits:
		return nil, fmt.Errorf("%w: number of %d digits", ErrIntRange, p.i-start)
	case before == nil:
		return p.b[start:p.i], nil
	}
	return append(before[:len(before):len(before)], p.b[start:p.i]...), nil
}

func (p *jsonParser) exponent() (int, error) {
	if c := p.peek(); c != 'e' && c != 'E' {
		return 0, nil
	}
	p.i++
	neg := p.peek() == '-'
	if neg || p.peek() == '+' {
		p.i++
	}
	digits, err := p.digits(nil)
	if err != nil {
		return 0, err
	}
	exp := 0
	for _, d := range digits {
		exp = min(exp*10+int(d-'0'), 10*maxDigits) // more shifts every digit out anyway
	}
	if neg {
		exp = -exp
	}
	return exp, nil
}

// integer returns the value of digits with the point after the first `point` of them.
func integer(digits []byte, point int) (int64, error) {
	v := int64(0)
	for i, d := range digits {
		if i >= point {
			if d != '0' {
				return 0, ErrFloat
			}
			continue
		}
		if v = v*10 + int64(d-'0'); v > MaxSafeInt {
			return 0, ErrIntRange
		}
	}
	for i := len(digits); i < point && v != 0; i++ {
		if v *= 10; v > MaxSafeInt {
			return 0, ErrIntRange
		}
	}
	return v, nil
}
