package cluster

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/steelyard-lb/steelyard/internal/version"
)

// BuildInfo tells what this program was built from, in labels.
func BuildInfo() prometheus.Collector {
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "steelyard_build_info", Help: "Always 1; the labels are the versions of Go and of the program.",
		ConstLabels: prometheus.Labels{"version": version.String(), "goversion": runtime.Version()},
	})
	gauge.Set(1)
	return gauge
}
