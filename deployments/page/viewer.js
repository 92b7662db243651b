// A head of Gaussians in WebGL: it turns by itself until it is touched.

import { SparkRenderer, SplatMesh } from "@sparkjsdev/spark";
import { PerspectiveCamera, Scene, WebGLRenderer } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";

const FOV_DEG = 38; // as in pipeline/cameras.py, whose cameras are 2 away
const DISTANCE = 1.8;
const TURN_S = 14;
const STEP = Math.PI / 24;
const ZOOM = 0.92;
const MOST_PIXEL_RATIO = 2;
const SORTED_MS = 20;

/** Shows one head on a canvas until it is disposed of. */
export class HeadViewer {
  /** `onTurning(turning)` is called when the head begins or ceases to turn by itself. */
  constructor(canvas, onTurning) {
    this.canvas = canvas;
    this.onTurning = onTurning;
    this.renderer = new WebGLRenderer({ canvas, alpha: true, antialias: false });
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, MOST_PIXEL_RATIO));
    this.camera = new PerspectiveCamera(FOV_DEG, 1, 0.1, 20);
    this.camera.position.set(0, 0, DISTANCE);
    this.controls = orbitControls(this.camera, canvas);
    this.controls.addEventListener("start", () => this.turn(false));
    canvas.addEventListener("keydown", (event) => this.press(event));
    this.scene = new Scene();
    this.spark = new SparkRenderer({ renderer: this.renderer, onDirty: () => (this.stale = true) });
    this.scene.add(this.spark);
    this.stale = true;
    this.seen = true;
    this.observers = [
      new ResizeObserver(() => this.fit()),
      new IntersectionObserver(([entry]) => (this.seen = entry.isIntersecting)),
    ];
    for (const observer of this.observers) observer.observe(canvas.parentElement);
  }

  /** Show the bytes of an .spz or .ply file. */
  async show(fileBytes, fileName) {
    this.mesh = new SplatMesh({ fileBytes, fileName });
    await this.mesh.initialized;
    if (this.disposed) return;
    if (fileName.endsWith(".ply")) this.mesh.quaternion.set(1, 0, 0, 0); // stored y-down
    this.scene.add(this.mesh);
    this.fit();
    this.renderer.setAnimationLoop((now) => this.draw(now));
  }

  /** Turn the head by itself, or cease to. */
  turn(turning) {
    if (turning === this.controls.autoRotate) return;
    this.controls.autoRotate = turning;
    this.onTurning(turning);
  }

  /** Free the GPU and Spark's worker. */
  async dispose() {
    if (this.disposed) return;
    this.disposed = true;
    this.renderer.setAnimationLoop(null);
    for (const observer of this.observers) observer.disconnect();
    this.controls.dispose();
    await this.mesh?.initialized.catch(() => {});
    await this.whenSorted();
    this.mesh?.dispose();
    this.spark.dispose();
    this.renderer.dispose();
    this.renderer.forceContextLoss();
  }

  /** Wait until Spark reads nothing back: a context that is lost meanwhile rejects its promise. */
  async whenSorted() {
    const { spark } = this;
    const busy = () => spark.sorting || spark.updateTimeoutId !== -1 || spark.sortTimeoutId !== -1;
    while (busy() && !this.renderer.getContext().isContextLost()) {
      await new Promise((done) => setTimeout(done, SORTED_MS));
    }
  }

  draw(now) {
    const seconds = Math.min(0.1, (now - (this.drawn ?? now)) / 1000);
    this.drawn = now;
    if (!this.seen) return;
    const moved = this.controls.update(seconds);
    if (!moved && !this.stale) return;
    this.stale = false;
    this.renderer.render(this.scene, this.camera);
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    if (!width || !height) return;
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.stale = true;
  }

  press(event) {
    const act = {
      ArrowLeft: () => this.controls.rotateLeft(STEP),
      ArrowRight: () => this.controls.rotateLeft(-STEP),
      ArrowUp: () => this.controls.rotateUp(STEP),
      ArrowDown: () => this.controls.rotateUp(-STEP),
      "+": () => this.controls.dollyIn(ZOOM),
      "-": () => this.controls.dollyOut(ZOOM),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.turn(false);
    act();
    this.stale = true;
  }
}

function orbitControls(camera, canvas) {
  // a wheel without Ctrl goes on scrolling the page; listened to before the controls do
  const leave = (event) => event.ctrlKey || event.stopImmediatePropagation();
  canvas.addEventListener("wheel", leave, { capture: true });
  const controls = new OrbitControls(camera, canvas);
  canvas.style.touchAction = "pan-y"; // a finger that moves up and down scrolls the page
  return Object.assign(controls, {
    enablePan: false,
    enableDamping: true,
    minDistance: 0.8,
    maxDistance: 4,
    minPolarAngle: 0.2 * Math.PI,
    maxPolarAngle: 0.8 * Math.PI,
    autoRotate: false,
    autoRotateSpeed: 60 / TURN_S,
  });
}
