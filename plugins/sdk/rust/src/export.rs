//! between the traits and the worlds: what `export_parser!` and its like expand to
//!
//! One instance of the component is one configured plugin. It is made by `configure` and lives in a thread-local
//! of the plugin's crate, which wasm keeps for as long as the instance lives.

use std::cell::RefCell;

use crate::{Autoscaler, Batch, Context, Enriched, Enricher, Filter, Kept, Parsed, Parser, Plugin, wire};

/// A panic's message would be lost with the instance: it goes to the log first.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| crate::log::error(&panic.to_string())));
}

fn with_instance<P, T>(
    instance: &RefCell<Option<P>>,
    work: impl FnOnce(&mut P) -> Result<T, String>,
) -> Result<T, String> {
    match instance.borrow_mut().as_mut() {
        Some(plugin) => work(plugin),
        None => Err("called before `configure`".to_owned()),
    }
}

impl From<wire::Context> for Context {
    fn from(context: wire::Context) -> Context {
        Context { now: context.now, state: context.state }
    }
}

macro_rules! describing {
    ($world:ident) => {
        use crate::worlds::$world::plugin;

        pub fn describe<P: Plugin>(version: &str) -> plugin::Descriptor {
            plugin::Descriptor { name: P::NAME.to_owned(), version: version.to_owned(), about: P::ABOUT.to_owned() }
        }

        pub fn configure<P: Plugin>(instance: &RefCell<Option<P>>, settings: &str) -> Result<plugin::Contract, String> {
            report_panics();
            let (plugin, contract) = crate::configure::<P>(settings)?;
            instance.replace(Some(plugin));
            let field = |(name, data_type)| plugin::Field { name, data_type };
            Ok(plugin::Contract {
                reads: contract.reads,
                writes: contract.writes.into_iter().map(field).collect(),
                open_schema: contract.open_schema,
                keeps_state: contract.keeps_state,
                produces: if contract.produces_metrics { plugin::EventKind::Metrics } else { plugin::EventKind::Logs },
            })
        }
    };
}

pub mod parser {
    use super::*;
    use crate::worlds::parser::parsing;
    describing!(parser);

    pub fn parse<P: Parser>(
        instance: &RefCell<Option<P>>,
        input: wire::Batch,
        context: wire::Context,
    ) -> Result<parsing::Parsed, String> {
        with_instance(instance, |plugin| {
            let input = Batch::from(input);
            let mut output = Parsed::new(input.rows());
            plugin.parse(&input, &context.into(), &mut output)?;
            let answer = output.into_wire()?;
            Ok(parsing::Parsed {
                rows: answer.rows,
                columns: answer.columns,
                origin: answer.origin,
                errors: answer.errors,
                state: answer.state,
            })
        })
    }
}

pub mod filter {
    use super::*;
    use crate::worlds::filter::filtering;
    describing!(filter);

    pub fn keep<P: Filter>(
        instance: &RefCell<Option<P>>,
        input: wire::Batch,
        context: wire::Context,
    ) -> Result<filtering::Kept, String> {
        with_instance(instance, |plugin| {
            let input = Batch::from(input);
            let mut output = Kept::new(input.rows());
            plugin.keep(&input, &context.into(), &mut output)?;
            let (keep, errors, state) = output.into_wire();
            Ok(filtering::Kept { keep, errors, state })
        })
    }
}

pub mod enricher {
    use super::*;
    use crate::worlds::enricher::enriching;
    describing!(enricher);

    pub fn enrich<P: Enricher>(
        instance: &RefCell<Option<P>>,
        input: wire::Batch,
        context: wire::Context,
    ) -> Result<enriching::Enriched, String> {
        with_instance(instance, |plugin| {
            let input = Batch::from(input);
            let mut output = Enriched::new(input.rows());
            plugin.enrich(&input, &context.into(), &mut output)?;
            let (columns, errors, state) = output.into_wire()?;
            Ok(enriching::Enriched { columns, errors, state })
        })
    }
}

pub mod autoscaler {
    use super::*;
    use crate::autoscaler::{Advice, Decision, Freshness, Replica, Request, Signal, Workload};
    use crate::worlds::autoscaler::autoscaling;
    describing!(autoscaler);

    pub fn decide<P: Autoscaler>(
        instance: &RefCell<Option<P>>,
        request: autoscaling::Request,
    ) -> Result<autoscaling::Proposal, String> {
        with_instance(instance, |plugin| {
            let proposal = plugin.decide(&read(request))?;
            Ok(autoscaling::Proposal { replicas: proposal.replicas, reason: proposal.reason, state: proposal.state })
        })
    }

    fn read(request: autoscaling::Request) -> Request {
        let workload = request.workload;
        Request {
            now: request.now,
            workload: Workload {
                name: workload.name,
                replicas: workload.replicas,
                ready: workload.ready,
                min: workload.min,
                max: workload.max,
                members: workload.members.into_iter().map(read_replica).collect(),
            },
            signals: request.signals.into_iter().map(read_signal).collect(),
            decisions: request.decisions.into_iter().map(read_decision).collect(),
            advice: request.advice.into_iter().map(read_advice).collect(),
            state: request.state,
        }
    }

    fn read_replica(replica: autoscaling::Replica) -> Replica {
        let autoscaling::Replica { name, ready, started_at, changed_at } = replica;
        Replica { name, ready, started_at, changed_at }
    }

    fn read_decision(decision: autoscaling::Decision) -> Decision {
        let autoscaling::Decision { at, replicas, proposed, decided, reason } = decision;
        Decision { at, replicas, proposed, decided, reason }
    }

    fn read_advice(advice: autoscaling::Advice) -> Advice {
        let autoscaling::Advice { name, replicas, reason } = advice;
        Advice { name, replicas, reason }
    }

    fn read_signal(signal: autoscaling::Signal) -> Signal {
        Signal {
            name: signal.name,
            freshness: match signal.freshness {
                autoscaling::Freshness::Fresh => Freshness::Fresh,
                autoscaling::Freshness::Stale => Freshness::Stale,
                autoscaling::Freshness::Missing => Freshness::Missing,
                autoscaling::Freshness::Failed => Freshness::Failed,
            },
            table: signal.table.into(),
            message: signal.message,
            caught_up_at: signal.caught_up_at,
        }
    }
}

/// The half of an export that all four worlds share.
#[doc(hidden)]
#[macro_export]
macro_rules! export_plugin_interface {
    ($plugin:ty, $world:ident) => {
        std::thread_local! {
            static INSTANCE: std::cell::RefCell<Option<$plugin>> = const { std::cell::RefCell::new(None) };
        }

        struct Component;

        impl $crate::worlds::$world::plugin::Guest for Component {
            fn describe() -> $crate::worlds::$world::plugin::Descriptor {
                $crate::export::$world::describe::<$plugin>(env!("CARGO_PKG_VERSION"))
            }

            fn configure(settings: String) -> Result<$crate::worlds::$world::plugin::Contract, String> {
                INSTANCE.with(|instance| $crate::export::$world::configure(instance, &settings))
            }
        }
    };
}

/// Makes a type that is a [`Parser`] the component this crate builds.
#[macro_export]
macro_rules! export_parser {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::worlds::parser::parsing;
            $crate::export_plugin_interface!($plugin, parser);

            impl parsing::Guest for Component {
                fn parse(
                    input: $crate::wire::Batch,
                    context: $crate::wire::Context,
                ) -> Result<parsing::Parsed, String> {
                    INSTANCE.with(|instance| $crate::export::parser::parse(instance, input, context))
                }
            }

    $crate::worlds::parser::export!(Component with_types_in $crate::worlds::parser);
        };
    };
}

/// Makes a type that is a [`Filter`] the component this crate builds.
#[macro_export]
macro_rules! export_filter {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::worlds::filter::filtering;
            $crate::export_plugin_interface!($plugin, filter);

            impl filtering::Guest for Component {
                fn keep(input: $crate::wire::Batch, context: $crate::wire::Context) -> Result<filtering::Kept, String> {
                    INSTANCE.with(|instance| $crate::export::filter::keep(instance, input, context))
                }
            }

    $crate::worlds::filter::export!(Component with_types_in $crate::worlds::filter);
        };
    };
}

/// Makes a type that is an [`Enricher`] the component this crate builds.
#[macro_export]
macro_rules! export_enricher {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::worlds::enricher::enriching;
            $crate::export_plugin_interface!($plugin, enricher);

            impl enriching::Guest for Component {
                fn enrich(
                    input: $crate::wire::Batch,
                    context: $crate::wire::Context,
                ) -> Result<enriching::Enriched, String> {
                    INSTANCE.with(|instance| $crate::export::enricher::enrich(instance, input, context))
                }
            }

    $crate::worlds::enricher::export!(Component with_types_in $crate::worlds::enricher);
        };
    };
}

/// Makes a type that is an [`Autoscaler`] the component this crate builds.
#[macro_export]
macro_rules! export_autoscaler {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::worlds::autoscaler::autoscaling;
            $crate::export_plugin_interface!($plugin, autoscaler);

            impl autoscaling::Guest for Component {
                fn decide(input: autoscaling::Request) -> Result<autoscaling::Proposal, String> {
                    INSTANCE.with(|instance| $crate::export::autoscaler::decide(instance, input))
                }
            }

    $crate::worlds::autoscaler::export!(Component with_types_in $crate::worlds::autoscaler);
        };
    };
}
