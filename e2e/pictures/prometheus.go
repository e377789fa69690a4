package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// prometheus is a Prometheus on host control.
type prometheus struct {
	studio *studio
	since  time.Time
	stop   func()
}

// startPrometheus has the real Prometheus scrape the rack's programs.
func (s *studio) startPrometheus(ctx context.Context) (*prometheus, error) {
	folder, err := os.MkdirTemp("", "pictures")
	if err != nil {
		return nil, err
	}
	job := func(name string, targets ...any) any {
		return map[string]any{"job_name": name, "static_configs": targets}
	}
	target := func(address, node string) any {
		return map[string]any{"targets": []string{address}, "labels": map[string]string{"node": node}}
	}
	var speakers []any
	for i, n := range s.nodes() {
		speakers = append(speakers, target(fmt.Sprintf("192.0.2.%d:7474", 11+i), n))
	}
	config, err := yaml.Marshal(map[string]any{
		"global":         map[string]string{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"scrape_configs": []any{job("steelyard-controller", target(s.rack.MetricsAddress("controller"), "")), job("steelyard-speaker", speakers...)},
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(folder, "prometheus.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := s.rack.Command(ctx, "control", "prometheus", "--config.file", file, "--storage.tsdb.path", filepath.Join(folder, "data"), "--web.listen-address", "127.0.0.1:9090", "--log.level=error")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start prometheus: %w", err)
	}
	stop := func() {
		cancel()
		_ = cmd.Wait() // it was killed
		_ = os.RemoveAll(folder)
	}
	return &prometheus{s, time.Now(), stop}, nil
}

// series is one line of an answer.
type series struct {
	labels map[string]string
	points []point
}

type point struct{ at, value float64 }

// values are the series of a query, from start to now.
func (p *prometheus) values(ctx context.Context, query string, start, end time.Time) ([]series, error) {
	out, err := p.studio.on(ctx, "control", "", "curl", "-sS", "--max-time", "10", "-G", "http://127.0.0.1:9090/api/v1/query_range",
		"--data-urlencode", "query="+strings.NewReplacer("$__rate_interval", "5s", "$node", ".*").Replace(query),
		"--data-urlencode", fmt.Sprintf("start=%d", start.Unix()), "--data-urlencode", fmt.Sprintf("end=%d", end.Unix()), "--data-urlencode", "step=1")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error string
		Data  struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.Error != "" {
		return nil, fmt.Errorf("prometheus answers %s: %v", out, err)
	}
	var all []series
	for _, r := range answer.Data.Result {
		s := series{labels: r.Metric}
		for _, v := range r.Values {
			at, _ := v[0].(float64)
			text, _ := v[1].(string)
			if number, err := strconv.ParseFloat(text, 64); err == nil && number == number {
				s.points = append(s.points, point{at - float64(start.Unix()), number})
			}
		}
		all = append(all, s)
	}
	return all, nil
}
