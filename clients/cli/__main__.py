"""`penstock …`: assembles the commands."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from clients.cli import deploy, experiment, explain, key, limit, model, predict, proxies, route, snapshot, spend, stack
from clients.cli.failures import told
from clients.cli.session import Session


class Told(TyperGroup):
    """Runs commands; what fails is told in plain words."""

    def invoke(self, ctx: typer.Context) -> Any:
        with told(lambda: at.address if (at := ctx.find_object(Session)) else ""):
            return super().invoke(ctx)


app = typer.Typer(
    cls=Told,
    name="penstock",
    help="A control plane for production inference: Python decides, Envoy carries, Triton computes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
stack.add_to(app)
app.add_typer(model.app, name="model")
app.add_typer(deploy.app, name="deploy")
app.add_typer(route.app, name="route")
app.add_typer(snapshot.app, name="snapshot")
app.command("proxies")(proxies.proxies)
app.command("predict")(predict.predict)
app.add_typer(explain.app, name="explain")
app.add_typer(spend.app, name="spend")
app.add_typer(experiment.app, name="experiment")
app.add_typer(key.app, name="key")
app.add_typer(limit.app, name="limit")


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"penstock {metadata.version('penstock')}")
        raise typer.Exit


@app.callback()
def connect(
    context: typer.Context,
    address: Annotated[str, typer.Option(envvar="PENSTOCK_ADDRESS", help="host:port of the ingress")] = "",
    api_key: Annotated[str, typer.Option(envvar="PENSTOCK_API_KEY", help="without it, the local stack's own")] = "",
    version: Annotated[  # noqa: ARG001  its callback has answered before
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    # a test brings a session of its own
    if context.obj is None:
        context.obj = Session.at(address, api_key)
    context.call_on_close(context.obj.close)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
