//! A watchman over the real contracts: what it finds, what it does about it, and what it leaves alone.

mod deployed;

use alloy::sol_types::SolCall;
use deployed::{DAY, Enclave, History, Network, Show, node, tokens};
use glacier_attest::TcbStatus;
use glacier_chain::{
    Act, Contradiction, Finding, MemoryError, NodeLog, Round, WatchError, Watchman,
    contracts::{GlacierToken, RewardVault, WorkLedger},
};
use glacier_wire::ProofHash;

/// Key 2 watches, and pays for what it does.
fn watchman(network: &Network, nodes: Vec<NodeLog>) -> Watchman {
    observer(network, nodes).acting(network.sender(2))
}

/// Watches and does nothing.
fn observer(network: &Network, nodes: Vec<NodeLog>) -> Watchman {
    let path = network.folder.path().join("watched.json");
    Watchman::open(network.chain.clone(), network.deployment.clone(), path)
        .unwrap()
        .with_nodes(nodes)
        .with_policy(network.policy())
        .with_collateral(network.collateral.clone())
        .unwrap()
}

async fn look(watchman: &mut Watchman, network: &Network) -> Round {
    watchman.look(network.now()).await.unwrap()
}

fn nothing(round: &Round) {
    assert!(round.findings.is_empty() && round.unknown.is_empty(), "{round:?}");
}

fn show(history: &History) -> Show {
    Show { history: history.clone(), proofs: history.proofs.clone(), ..Show::default() }
}

/// Settled by the honest log's head of `size`.
async fn settled(network: &Network, size: u64) -> (Enclave, History) {
    let enclave = network.register(3).await;
    let history = enclave.work(size, 1);
    network.operator.settle(&enclave.head(&history.log, size)).await.unwrap();
    (enclave, history)
}

async fn barred(network: &Network) -> bool {
    network.operator.chip(&network.chip.enclave_id()).await.unwrap().barred
}

#[tokio::test]
async fn an_honest_network_has_nothing_to_find_and_is_read_once() {
    let network = Network::new().await;
    let (enclave, history) = settled(&network, 3).await;
    let (node, shown) = node(Show { checkpoint: Some(enclave.head(&history.log, 3)), ..show(&history) }).await;
    let mut watchman = watchman(&network, vec![node.clone()]);
    let round = look(&mut watchman, &network).await;
    nothing(&round);
    assert_eq!(round.keys, 1);

    // It goes on, with more work settled in a batch, after a restart too.
    let longer = enclave.work(9, 1);
    *shown.lock().unwrap() = Show { checkpoint: Some(enclave.head(&longer.log, 9)), ..show(&longer) };
    network.operator.settle(&enclave.head(&longer.log, 8)).await.unwrap();
    nothing(&look(&mut watchman, &network).await);
    drop(watchman);
    let mut again = observer(&network, vec![node]);
    let round = look(&mut again, &network).await;
    nothing(&round);
    assert_eq!(round.keys, 1, "what was seen before is known");

    // Its file is of this network alone.
    let elsewhere = Network::new().await;
    let path = network.folder.path().join("watched.json");
    let mut other = elsewhere.deployment.clone();
    other.registry = other.token;
    let refused = Watchman::open(elsewhere.chain.clone(), other, path.clone());
    assert!(matches!(refused, Err(WatchError::Memory(MemoryError::OtherNetwork(_)))));
    std::fs::write(&path, b"{").unwrap();
    let refused = Watchman::open(elsewhere.chain.clone(), elsewhere.deployment.clone(), path);
    assert!(matches!(refused, Err(WatchError::Memory(MemoryError::Damaged(_)))));
}

#[tokio::test]
async fn two_heads_of_one_size_bar_the_chip_and_take_its_bond() {
    let network = Network::new().await;
    let (enclave, _) = settled(&network, 4).await;

    // A day later its work is paid, and the pay is bonded.
    network.pass(DAY);
    assert_eq!(network.operator.propose().await.unwrap(), Some(1));
    assert_eq!(network.operator.claim().await.unwrap(), tokens(50_000));
    let sender = network.operator.sender();
    let (token, vault) = (network.deployment.token, network.deployment.vault);
    let approve = GlacierToken::approveCall { spender: vault, value: tokens(1000) };
    sender.call("approve", token, approve.abi_encode()).await.unwrap();
    let chip = network.chip.enclave_id();
    let bond = RewardVault::bondCall { enclaveId: chip.0.into(), amount: tokens(1000).to() };
    sender.call("bond", vault, bond.abi_encode()).await.unwrap();

    // The key has signed another head of that size, and some node shows it.
    let other = enclave.work(4, 2);
    let (node, _) =
        node(Show { checkpoint: Some(enclave.head(&other.log, 4)), history: other, ..Show::default() }).await;

    // Without a key it is told and not acted on.
    let told = look(&mut observer(&network, vec![node.clone()]), &network).await;
    assert!(
        told.findings.iter().any(|finding| matches!(finding, Finding::Fork { act: Act::Reported, .. })),
        "{told:?}"
    );
    assert!(!barred(&network).await);

    let mut watchman = watchman(&network, vec![node]);
    let round = look(&mut watchman, &network).await;
    let fork = round.findings.iter().find(|finding| matches!(finding, Finding::Fork { .. }));
    let Some(Finding::Fork { key, enclave_id, contradiction, act: Act::Done(_) }) = fork else { panic!("{round:?}") };
    assert_eq!((*key, *enclave_id, contradiction.kind()), (enclave.key(), chip, "two-heads"));
    assert!(barred(&network).await);
    let vault = RewardVault::new(vault, network.chain.provider());
    assert!(vault.poolOf(chip.0.into()).call().await.unwrap().slashed);
    // A quarter of the bond is the watchman's.
    let token = GlacierToken::new(token, network.chain.provider());
    let watching = deployed::operator_key(2).address();
    assert_eq!(token.balanceOf(watching).call().await.unwrap(), tokens(250));

    // What is done is not done again.
    let again = look(&mut watchman, &network).await;
    assert!(again.findings.iter().any(|finding| matches!(finding, Finding::Fork { act: Act::Already, .. })));
}

#[tokio::test]
async fn a_node_that_shows_another_log_is_found_and_alone_convicts_nobody() {
    let network = Network::new().await;
    let (enclave, history) = settled(&network, 4).await;
    let other = enclave.work(6, 2);
    let (node, shown) = node(Show { history: other, ..Show::default() }).await;
    let mut watchman = watchman(&network, vec![node.clone()]);
    let round = look(&mut watchman, &network).await;
    let [Finding::OtherLog { key, node: name, settled, shown: found }] = round.findings.as_slice() else {
        panic!("{round:?}")
    };
    assert_eq!((*key, name, settled.size, found.size), (enclave.key(), &node.name(), 4, 6));
    assert!(!barred(&network).await);

    // One that is behind, or has nothing, is no finding: it could not be told.
    shown.lock().unwrap().history = enclave.work(2, 1);
    let behind = look(&mut watchman, &network).await;
    assert!(behind.findings.is_empty() && !behind.unknown.is_empty(), "{behind:?}");
    shown.lock().unwrap().history = History::default();
    let silent = look(&mut watchman, &network).await;
    assert!(silent.findings.is_empty() && !silent.unknown.is_empty(), "{silent:?}");

    // One whose log does not begin with the head that it shows contradicts itself.
    *shown.lock().unwrap() = Show { checkpoint: Some(enclave.head(&enclave.work(5, 3).log, 5)), ..show(&history) };
    let round = look(&mut watchman, &network).await;
    assert!(round.findings.iter().any(|finding| matches!(finding, Finding::FalseAnswer { .. })), "{round:?}");
}

#[tokio::test]
async fn two_nodes_with_two_logs_convict_by_the_proofs_in_which_they_differ() {
    let network = Network::new().await;
    let (enclave, history) = settled(&network, 4).await;
    let other = enclave.work(6, 2);
    let signed = enclave.head(&other.log, 6);
    let (honest, _) = node(Show { history: history.clone(), ..Show::default() }).await;
    let (forked, _) = node(Show { history: other, checkpoint: Some(signed), ..Show::default() }).await;
    let round = look(&mut watchman(&network, vec![honest, forked]), &network).await;
    let convicted = round.findings.iter().any(|finding| {
        matches!(finding, Finding::Fork { contradiction: Contradiction::Histories(_), act: Act::Done(_), .. })
    });
    assert!(convicted, "{round:?}");
    assert!(barred(&network).await);
}

#[tokio::test]
async fn two_proofs_of_one_number_convict() {
    let network = Network::new().await;
    let (enclave, history) = settled(&network, 4).await;
    let mut show = show(&history);
    show.proofs.push(enclave.proof(2, ProofHash([7; 32]), 9));
    let (node, _) = node(show).await;
    let round = look(&mut watchman(&network, vec![node]), &network).await;
    let [Finding::Fork { contradiction, act: Act::Done(_), .. }] = round.findings.as_slice() else {
        panic!("{round:?}")
    };
    assert_eq!(contradiction.kind(), "two-proofs");
    assert!(barred(&network).await);
}

#[tokio::test]
async fn a_proof_that_is_not_in_the_signed_log_convicts() {
    let network = Network::new().await;
    let (enclave, history) = settled(&network, 4).await;
    let (stray, checkpoint) = (enclave.proof(2, ProofHash([7; 32]), 9), enclave.head(&history.log, 4));
    let (node, _) = node(Show { proofs: vec![stray], checkpoint: Some(checkpoint), history }).await;
    let round = look(&mut watchman(&network, vec![node]), &network).await;
    let [Finding::Fork { contradiction, act: Act::Done(_), .. }] = round.findings.as_slice() else {
        panic!("{round:?}")
    };
    assert_eq!(contradiction.kind(), "other-leaf");
    assert!(barred(&network).await);
}

#[tokio::test]
async fn a_false_root_is_vetoed_and_a_true_one_is_not() {
    let network = Network::with(|plan| plan.challenge = 3600).await;
    settled(&network, 4).await;
    let sender = network.operator.sender();
    let vault = RewardVault::new(network.deployment.vault, network.chain.provider());
    let role = vault.WATCHMAN_ROLE().call().await.unwrap();
    let account = deployed::operator_key(2).address();
    let grant = RewardVault::grantRoleCall { role, account }.abi_encode();
    sender.call("grant/watchman", network.deployment.vault, grant).await.unwrap();
    network.pass(DAY);

    let propose = RewardVault::proposeCall { epoch: 1, root: [7; 32].into(), total: tokens(50_000).to() };
    sender.call("propose/false", network.deployment.vault, propose.abi_encode()).await.unwrap();
    let mut watchman = watchman(&network, vec![]);
    let round = look(&mut watchman, &network).await;
    let [Finding::FalseRoot { epoch: 1, in_force: false, act: Act::Done(_), expected, .. }] = round.findings.as_slice()
    else {
        panic!("{round:?}")
    };
    assert_eq!(vault.pending().call().await.unwrap().epoch, 0);

    assert_eq!(network.operator.propose().await.unwrap(), Some(1));
    assert_eq!(vault.pending().call().await.unwrap().root, *expected);
    nothing(&look(&mut watchman, &network).await);
    network.pass(3600);
    nothing(&look(&mut watchman, &network).await);

    // One that nobody vetoed in time pays, and is told all the same.
    network.pass(DAY);
    let propose = RewardVault::proposeCall { epoch: 2, root: [8; 32].into(), total: tokens(50_000).to() };
    sender.call("propose/late", network.deployment.vault, propose.abi_encode()).await.unwrap();
    network.pass(3600);
    let round = look(&mut watchman, &network).await;
    let [Finding::FalseRoot { epoch: 2, in_force: true, act: Act::Reported, .. }] = round.findings.as_slice() else {
        panic!("{round:?}")
    };
}

#[tokio::test]
async fn a_chip_that_the_vendor_revoked_is_evicted() {
    let network = Network::new().await;
    let (enclave, _) = settled(&network, 1).await;
    let mut watchman = watchman(&network, vec![]);
    nothing(&look(&mut watchman, &network).await);
    network.pass(60);
    let revoking = network.recipe(|recipe| recipe.revoked_chips = vec![network.chip.serial()]);
    let mut watchman = watchman.with_collateral(revoking.clone()).unwrap();
    let round = look(&mut watchman, &network).await;
    assert!(matches!(round.findings.as_slice(), [Finding::QuoteRefused { .. }]), "{round:?}");
    assert!(!barred(&network).await, "the chain does not know yet");

    network.operator.bring(&revoking).await.unwrap();
    let round = look(&mut watchman, &network).await;
    let evicted = round.findings.iter().any(
        |finding| matches!(finding, Finding::ChipRevoked { keys, act: Act::Done(_), .. } if *keys == [enclave.key()]),
    );
    assert!(evicted, "{round:?}");
    assert!(barred(&network).await);
    assert_eq!(network.operator.life(&enclave.key()).await.unwrap().until, 0);
    // Nothing that is barred is looked at again.
    nothing(&look(&mut watchman, &network).await);
}

#[tokio::test]
async fn a_platform_that_falls_below_the_floor_is_found_by_this_verifier_and_by_the_contracts() {
    let network = Network::new().await;
    settled(&network, 1).await;
    network.pass(60);
    let behind = network.recipe(|recipe| recipe.status = TcbStatus::OutOfDate);
    let mut lenient = network.policy();
    lenient.min_tcb = TcbStatus::OutOfDate;
    let mut watchman = observer(&network, vec![]).with_policy(lenient).with_collateral(behind.clone()).unwrap();
    let round = look(&mut watchman, &network).await;
    let [Finding::QuoteRefused { reason, .. }] = round.findings.as_slice() else { panic!("{round:?}") };
    assert!(reason.contains("below the network's floor"), "{reason}");

    // Without collateral the contracts are asked, which know what was submitted to them.
    let path = network.folder.path().join("contracts.json");
    let mut asking = Watchman::open(network.chain.clone(), network.deployment.clone(), path).unwrap();
    nothing(&look(&mut asking, &network).await);
    network.operator.bring(&behind).await.unwrap();
    let round = look(&mut asking, &network).await;
    assert!(matches!(round.findings.as_slice(), [Finding::QuoteRefused { .. }]), "{round:?}");
}

#[tokio::test]
async fn a_renewal_is_judged_by_its_own_quote_and_heads_settled_in_a_batch_are_read() {
    let network = Network::new().await;
    let enclave = network.register(3).await;
    let history = enclave.work(5, 1);
    let heads = [2, 5].map(|size| {
        let signed = enclave.head(&history.log, size);
        let (head, signature) = (signed.checkpoint, signed.signature.0);
        let mut s: [u8; 32] = signature[32..64].try_into().unwrap();
        s[0] |= if signature[64] == 28 { 0x80 } else { 0 };
        [
            &head.enclave_key.0[..],
            &head.enclave_id.0[23..],
            &head.size.to_be_bytes(),
            &head.units.to_be_bytes(),
            &head.root.0,
            &signature[..32],
            &s,
        ]
        .concat()
    });
    let call = WorkLedger::submitCheckpointsCall { heads: heads.concat().into() }.abi_encode();
    network.operator.sender().call("batch", network.deployment.ledger, call).await.unwrap();

    network.pass(60);
    let life = network.operator.life(&enclave.key()).await.unwrap();
    let later = network.recipe(|_| ());
    network.operator.bring(&later).await.unwrap();
    let registration = glacier_proof::Registration {
        chain_id: network.deployment.chain_id,
        registry: glacier_wire::Address(*network.deployment.registry.0),
        enclave_key: enclave.key(),
        owner: glacier_wire::Address(*network.operator.sender().address().0),
        number: life.until.try_into().unwrap(),
    };
    let body = glacier_simulator::Body::new(deployed::CODE, registration.report_data());
    let quote = network.chip.quote(&body).unwrap();
    network.operator.renew(&enclave.key(), life.until, &quote).await.unwrap();

    let (node, _) = node(show(&history)).await;
    let mut watchman = watchman(&network, vec![node]);
    nothing(&look(&mut watchman, &network).await);
    // The same after the blocks are read again.
    nothing(&look(&mut watchman, &network).await);
}
