//! What of kube-proxy's work this agent does, for `status`.

use std::net::IpAddr;

use api::status::{KprFeatures, KubeProxyReplacement, Need, NodePort, Switch};
use services::{Algorithm, ForwardingMode};

use super::devices::Device;
use crate::config::{Acceleration, Balancing, Config, SocketLb};

/// Annotations of services that count everywhere.
const ANNOTATIONS: [&str; 5] = [
    "service.cilium.io/lb-algorithm",
    "service.cilium.io/node",
    "service.cilium.io/node-selector",
    "service.cilium.io/src-ranges-policy",
    "service.cilium.io/type",
];
/// One that counts where DSR is possible, which is without a tunnel.
const FORWARDING: &str = "service.cilium.io/forwarding-mode";

/// All of it, or `False` if kube-proxy serves the services.
pub(super) fn report(config: &Config, devices: &[Device]) -> KubeProxyReplacement {
    let Some(balancing) = config.replacement() else {
        return KubeProxyReplacement { mode: "False".to_owned(), ..KubeProxyReplacement::default() };
    };
    let model = |device: &Device| api::status::Device {
        name: device.name.clone(),
        ip: device.addresses.iter().map(IpAddr::to_string).collect(),
    };
    let direct = devices.iter().find(|device| device.is_direct);
    KubeProxyReplacement {
        mode: "True".to_owned(),
        device_list: devices.iter().map(model).collect(),
        direct_routing_device: direct.map(|device| device.name.clone()).unwrap_or_default(),
        features: Some(features(balancing, !config.tunnel(), config.trace_every_packet)),
        // What the node has, and what kube-proxy has left, the caller knows.
        ..KubeProxyReplacement::default()
    }
}

/// Something that services need.
pub(super) fn need(feature: &loader::Feature) -> Need {
    Need { name: feature.name.to_owned(), problem: feature.problem.clone().unwrap_or_default() }
}

fn features(balancing: &Balancing, may_dsr: bool, every_packet: bool) -> KprFeatures {
    let forwarding = may_dsr.then_some(FORWARDING);
    let (on, off) = (Switch { enabled: true }, Switch { enabled: false });
    KprFeatures {
        socket_lb: Switch { enabled: balancing.socket != SocketLb::Off },
        socket_lb_tracing: Switch { enabled: balancing.socket != SocketLb::Off && every_packet },
        host_namespace_only: balancing.socket == SocketLb::Host,
        node_port: node_port(balancing),
        external_ips: on.clone(),
        host_port: on.clone(),
        session_affinity: on,
        nat46_x64: off,
        annotations: forwarding.into_iter().chain(ANNOTATIONS).map(str::to_owned).collect(),
    }
}

fn node_port(balancing: &Balancing) -> NodePort {
    let settings = &balancing.settings;
    let (mode, dsr_mode) = match settings.forwarding {
        ForwardingMode::Snat => ("SNAT", ""),
        ForwardingMode::Dsr => ("DSR", "IP Option/Extension"),
        ForwardingMode::Hybrid => ("Hybrid", "IP Option/Extension"),
    };
    let (algorithm, lut_size) = match settings.algorithm {
        Algorithm::Random => ("Random", 0),
        Algorithm::Maglev => ("Maglev", balancing.settings.maglev_size),
    };
    NodePort {
        enabled: true,
        mode: mode.to_owned(),
        dsr_mode: dsr_mode.to_owned(),
        algorithm: algorithm.to_owned(),
        acceleration: match balancing.acceleration {
            Acceleration::Disabled => "Disabled",
            Acceleration::Native => "Native",
            Acceleration::BestEffort => "Best-Effort",
            Acceleration::Generic => "Testing-Only",
        }
        .to_owned(),
        lut_size,
        port_min: *settings.node_port_range.start(),
        port_max: *settings.node_port_range.end(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;

    fn config(pairs: &[(&str, &str)]) -> Config {
        let mut options = Options::default();
        options.set("k8s-node-name", "n1");
        for (name, value) in pairs {
            options.set(name, value);
        }
        Config::parse(&options).expect("options that go together")
    }

    fn features(pairs: &[(&str, &str)]) -> KprFeatures {
        let pairs = [&[("kube-proxy-replacement", "true")], pairs].concat();
        report(&config(&pairs), &[]).features.expect("features")
    }

    #[test]
    fn devices_and_the_mode() {
        let address = |text: &str| text.parse().expect("an address");
        let addresses = vec![address("172.31.0.11"), address("fd00:31::11")];
        let devices = [
            Device { name: "eth1".into(), addresses: vec![], is_direct: false },
            Device { name: "eth0".into(), addresses, is_direct: true },
        ];
        let told = report(&config(&[]), &devices);
        assert_eq!(told, KubeProxyReplacement { mode: "False".into(), ..KubeProxyReplacement::default() });
        let told = report(&config(&[("kube-proxy-replacement", "true")]), &devices);
        assert_eq!((told.mode.as_str(), told.direct_routing_device.as_str()), ("True", "eth0"));
        assert_eq!(told.device_list[1].ip, ["172.31.0.11", "fd00:31::11"]);
    }

    #[test]
    fn only_what_is_on_is_said_to_be() {
        let none = ("monitor-aggregation", "none");
        assert!(features(&[none]).socket_lb_tracing.enabled && !features(&[]).socket_lb_tracing.enabled);
        let told = features(&[("bpf-lb-sock", "false"), none]);
        assert!(!told.socket_lb_tracing.enabled);
        assert!(!told.socket_lb.enabled && !told.host_namespace_only && told.session_affinity.enabled);
        let port = told.node_port;
        assert_eq!((port.mode.as_str(), port.dsr_mode.as_str()), ("SNAT", ""));
        assert_eq!((port.algorithm.as_str(), port.lut_size), ("Random", 0));
        assert_eq!((port.port_min, port.port_max), (30_000, 32_767));
        assert!(!told.annotations.iter().any(|name| name == FORWARDING), "no DSR through a tunnel");

        let told = features(&[
            ("bpf-lb-sock-hostns-only", "true"),
            ("bpf-lb-algorithm", "maglev"),
            ("bpf-lb-mode", "hybrid"),
            ("routing-mode", "native"),
            ("ipv4-native-routing-cidr", "10.0.0.0/8"),
            ("node-port-range", "20000,20100"),
        ]);
        assert!(told.socket_lb.enabled && told.host_namespace_only);
        let port = told.node_port;
        assert_eq!((port.mode.as_str(), port.dsr_mode.as_str()), ("Hybrid", "IP Option/Extension"));
        assert_eq!((port.algorithm.as_str(), port.lut_size), ("Maglev", 16_381));
        assert_eq!((port.port_min, port.port_max), (20_000, 20_100));
        assert_eq!(told.annotations[0], FORWARDING);
    }
}
