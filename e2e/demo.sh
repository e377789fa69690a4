#!/usr/bin/env bash
# The demo: a Service gets its address, answers over ARP and over BGP, and
# survives a cut cable. Every line of output is real. Run it with "make demo".
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/bin:$PATH"
export RACK=demo # the rack that every command below means
bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
[ -t 1 ] || bold='' dim='' plain=''

step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '%s\n' "$*"; }
# show prints a command as a reader would type it, then runs it.
show() {
  printf '%s$ bin/%s%s\n' "$dim" "$*" "$plain"
  "$@"
}
kubectl() { rack kubectl "$@"; }
# await SECONDS COMMAND…: run quietly until it succeeds.
await() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || { echo "not after a long wait: $*"; "$@"; exit 1; }
    sleep 0.1
  done
}

if [ "$(id -u)" != 0 ]; then
  say "The demo makes network namespaces and needs root."
  exit 1
fi

step "1. A cluster on this machine: three nodes, a switch, a router, two clients, each a network namespace"
rack down 2>/dev/null || true
rack up

step "2. Addresses for the local network: a pool, and the wish to have it announced by ARP and NDP"
sed 's/^/    /' config/samples/layer2.yaml
show rack kubectl apply -f config/samples/layer2.yaml

step "3. Three servers, and a Service of type LoadBalancer"
show rack kubectl apply -f config/samples/service.yaml
await 60 kubectl rollout status deployment/web --timeout=60s
await 30 sh -c "rack kubectl get service web -o jsonpath='{.status.loadBalancer.ingress[1].ip}' | grep -q ."
show rack kubectl get service web
v4=$(kubectl get service web -o 'jsonpath={.status.loadBalancer.ingress[0].ip}')
v6=$(kubectl get service web -o 'jsonpath={.status.loadBalancer.ingress[1].ip}')
await 30 rack exec client -- curl -gsS --max-time 1 "http://[$v6]/hostname"
await 30 rack exec client -- curl -sS --max-time 1 "http://$v4/hostname"

step "4. It answers a client on the same network, in both families. The client learned the MAC of one node, by ARP and by NDP"
for _ in 1 2 3; do
  show rack exec client -- curl -s "http://$v4/hostname"
  echo
done
show rack exec client -- curl -gs "http://[$v6]/hostname"
echo
show rack exec client -- ip neigh show "$v4"
show rack kubectl get l2claims.steelyard.dev

step "5. The cable of the node that answers is cut. Another node notices and takes over"
owner=$(kubectl get l2claims.steelyard.dev "$v4" -o 'jsonpath={.spec.node}')
log=$(mktemp)
trap 'rm -f "$log"' EXIT
rack probe client "$v4:80" --for 8s >"$log" &
probe=$!
sleep 2
show rack cut "$owner"
wait $probe
cat "$log"
say "(While a third of the Pods is behind the cut cable, a third of the connections still fails: Kubernetes gives up"
say " on a node later than Steelyard does.)"
show rack kubectl get l2claims.steelyard.dev "$v4"
show rack kubectl get events --field-selector "involvedObject.name=web,reason=Announced" -o custom-columns=EVENT:.message

step "6. The cable is plugged in again: nothing moves a second time"
show rack join "$owner"
await 30 sh -c "rack kubectl get speakers.steelyard.dev $owner -o 'jsonpath={.status.links[0].up}' | grep -q true"
rack probe client "$v4:80" --for 5s
show rack kubectl get l2claims.steelyard.dev "$v4"

step "7. The same over BGP: a second pool, a Service that asks for it, and the router as a peer of every node"
show rack kubectl apply -f config/samples/bgp.yaml
kubectl apply -f - <<'YAML'
apiVersion: v1
kind: Service
metadata:
  name: routed
  annotations: {steelyard.dev/address-pool: routed}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
YAML
await 30 sh -c "rack kubectl get service routed -o jsonpath='{.status.loadBalancer.ingress[0].ip}' | grep -q 203.0.113"
far=$(kubectl get service routed -o 'jsonpath={.status.loadBalancer.ingress[0].ip}')
await 60 sh -c "rack exec router -- ip route show $far | grep -c nexthop | grep -q 3"
show rack kubectl get bgpsessions.steelyard.dev
say "The router has learned the address from three nodes, and spreads connections over them:"
show rack exec router -- ip route show "$far"
await 30 rack exec outside -- curl -sS --max-time 1 "http://$far/hostname"
show rack exec outside -- curl -s "http://$far/hostname"
echo

step "8. When something is wrong, the object at fault says so"
kubectl apply -f - >/dev/null <<'YAML'
apiVersion: steelyard.dev/v1beta1
kind: IPAddressPool
metadata: {name: twice}
spec: {addresses: [192.0.2.150-192.0.2.160]}
YAML
await 30 sh -c "rack kubectl get ipaddresspools.steelyard.dev twice -o 'jsonpath={.status.conditions[?(@.type==\"Accepted\")].reason}' | grep -q Overlaps"
show rack kubectl get ipaddresspools.steelyard.dev -o wide
printf '%s$ %s%s\n' "$dim" "echo '… addresses: [192.0.2.77/24]' | bin/rack kubectl apply -f -" "$plain"
kubectl apply -f - 2>&1 <<'YAML' || true
apiVersion: steelyard.dev/v1beta1
kind: IPAddressPool
metadata: {name: typo}
spec: {addresses: [192.0.2.77/24]}
YAML

step "The rack is still there. What to try next"
cat <<END
  export RACK=demo                               the rack that the commands below mean
  bin/rack kubectl get steelyard -o wide         everything Steelyard knows
  bin/rack kubectl explain bgppeers.spec --api-version=steelyard.dev/v1beta1     every field, explained
  bin/rack probe client $v4:80 --for 20s   and, meanwhile, in another shell:
  bin/rack kill node1 speaker --signal TERM      (TERM or KILL: the others answer with its MAC until it is back)
  bin/rack pcap client -- arp                    what is said on the wire
  bin/rack help                                  all commands
Clean up with
  bin/rack down --name demo
END
