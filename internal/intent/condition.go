package intent

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// SetCondition is meta.SetStatusCondition with a message that can be shown, and is
// short, whatever foreign text it quotes. The programs set conditions by it only.
func SetCondition(conditions *[]metav1.Condition, c metav1.Condition) {
	c.Message = printable.Message(c.Message)
	meta.SetStatusCondition(conditions, c)
}
