// Package greeting has what the sample answers.
package greeting

const Text = "go sample answers"
