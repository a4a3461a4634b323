//! Long lives in random order, with more vCPUs and servers than can be tried exhaustively.

use proptest::prelude::*;

use super::model::{Op, World};

const VCPUS: usize = 4;
const SERVERS: usize = 6;

fn op() -> impl Strategy<Value = Op> {
    let (vcpu, server) = (0..VCPUS, 0..SERVERS);
    prop_oneof![
        2 => Just(Op::Create),
        1 => server.clone().prop_map(|server| Op::Destroy { server }),
        1 => server.clone().prop_map(|server| Op::Sweep { server }),
        4 => (server.clone(), prop::bool::weighted(0.9)).prop_map(|(server, on)| Op::Enable { server, on }),
        4 => server.clone().prop_map(|server| Op::Map { server }),
        1 => server.clone().prop_map(|server| Op::Unmap { server }),
        12 => (vcpu.clone(), server.clone(), any::<bool>())
            .prop_map(|(vcpu, server, write)| Op::Access { vcpu, server, write }),
        3 => vcpu.clone().prop_map(|vcpu| Op::Invalidate { vcpu }),
        4 => vcpu.clone().prop_map(|vcpu| Op::Fetch { vcpu }),
        12 => (server.clone(), vcpu.clone(), prop_oneof![Just(3u8), 0..16u8])
            .prop_map(|(server, vcpu, state)| Op::Write { server, vcpu, state }),
        16 => (server.clone(), vcpu.clone()).prop_map(|(server, vcpu)| Op::Notify { server, vcpu }),
        1 => (server.clone(), vcpu.clone()).prop_map(|(server, vcpu)| Op::Lost { server, vcpu }),
        2 => (server.clone(), vcpu.clone()).prop_map(|(server, vcpu)| Op::Connect { server, vcpu }),
        1 => (server, vcpu).prop_map(|(server, vcpu)| Op::Stale { server, vcpu }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn requests_live_as_the_model_says(ops in prop::collection::vec(op(), 0..300)) {
        let mut world = World::new(VCPUS, SERVERS);
        for op in ops {
            world.apply(op);
        }
        for server in 0..SERVERS {
            world.apply(Op::Destroy { server });
        }
        // With no server left, nobody waits.
        for vcpu in 0..VCPUS {
            prop_assert!(!world.is_waiting(vcpu));
        }
    }
}
